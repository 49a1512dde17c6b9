"""The policy versions that were in force, over HTTP: listed, shown, compared, named and put back.

Putting one back writes the policy file and nothing else; the workers notice that as they notice any edit.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import orjson
from fastapi import APIRouter, Query, Response
from fastapi import Path as PathParam
from pydantic import BaseModel, ConfigDict, Field

from gateway.errors import BadRequest, GatewayError
from policies.difference import difference
from policies.document import UnreadableError, read_text
from policies.history import BadName, CannotRestore, History, HistoryError, NoSuchVersion, Version
from policies.loader import PolicyError
from policies.shown import shown

HISTORY = "policies"  # in the state directory
Said = Annotated[str, PathParam(max_length=200)]
Asked = Annotated[str, Query(min_length=1, max_length=200)]
_P = ParamSpec("_P")
_T = TypeVar("_T")
Checker = Callable[[str], object]  # raises PolicyError for a text that is no policy in this environment


class UnknownVersion(GatewayError):
    """No such version is kept."""

    status, code, type = 404, "policy_version_not_found", "invalid_request_error"


class NotRestored(GatewayError):
    """The policy file stays as it is."""

    status, code, type = 409, "policy_not_restored", "invalid_request_error"


class HistoryUnavailable(GatewayError):
    """The history cannot be had now; calls are served all the same."""

    status, code = 503, "policy_history_unavailable"


class NameOrder(BaseModel):
    """Which version, and its name from now on; "" takes the name away."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: str = Field(min_length=1, max_length=200)
    name: str = Field(max_length=200)


class RestoreOrder(BaseModel):
    """Which version to write into the policy file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: str = Field(min_length=1, max_length=200)


def routes(state_dir: Path, policy_path: Path, check: Checker | None = None) -> APIRouter:
    """The routes below /api/policy. With `check`, a version that would not load is not put back."""
    desk = _Desk(History(state_dir / HISTORY), policy_path, check)
    router = APIRouter()
    for path, answer, method in (
        ("/api/policy/versions", desk.versions, "GET"),
        ("/api/policy/versions/{version}", desk.version, "GET"),
        ("/api/policy/diff", desk.diff, "GET"),
        ("/api/policy/name", desk.name, "POST"),
        ("/api/policy/restore", desk.restore, "POST"),
    ):
        router.add_api_route(path, answer, methods=[method], response_model=None)
    return router


class _Desk:
    """What the routes work on. Their methods are plain functions, which FastAPI runs beside the event loop."""

    def __init__(self, history: History, policy: Path, check: Checker | None) -> None:
        self._history = history
        self._policy = policy
        self._check = check

    def versions(self) -> Response:
        return _json({"versions": [_told(each) for each in _had(self._history.list)]})

    def version(self, version: Said) -> Response:
        found = _had(self._history.find, version)
        told = next(each for each in _had(self._history.list) if each.version == found)
        return _json({**_told(told), "text": shown(_had(self._history.text, found))})

    def diff(self, a: Asked, b: Annotated[str | None, Query(max_length=200)] = None) -> Response:
        old = self._text(a)
        new = self._file() if not b else self._text(b)
        return _json({"a": a, "b": b or None, "diff": difference(shown(old), shown(new), a, b or self._policy.name)})

    def name(self, order: NameOrder) -> Response:
        found = _had(self._history.find, order.version)
        _had(self._history.name, found, order.name)
        return _json({"version": found, "name": order.name})

    def restore(self, order: RestoreOrder) -> Response:
        found = _had(self._history.find, order.version)
        if self._check is not None:
            try:
                self._check(_had(self._history.text, found))
            except PolicyError as error:
                raise NotRestored(f"This version does not load here: {error}", param="version") from error
        kept = _had(self._history.restore, found, self._policy)
        return _json({"version": found, "file": self._policy.name, "replaced": kept.name if kept else None})

    def _text(self, said: str) -> str:
        return _had(self._history.text, _had(self._history.find, said))

    def _file(self) -> str:
        try:
            return read_text(self._policy)
        except UnreadableError as error:
            raise BadRequest(f"The policy file, line {error.line}: {error.message}.", param="b") from error


def _had(question: Callable[_P, _T], *about: _P.args, **more: _P.kwargs) -> _T:
    """What the history says, or an error with the right status."""
    try:
        return question(*about, **more)
    except NoSuchVersion as error:
        raise UnknownVersion(f"{_sentence(error)}; /api/policy/versions tells which are.", param="version") from error
    except BadName as error:
        raise BadRequest(f"{_sentence(error)}.", param="name") from error
    except CannotRestore as error:
        raise NotRestored(f"{_sentence(error)}.") from error
    except HistoryError as error:
        raise HistoryUnavailable(f"{_sentence(error)}.") from error
    except OSError as error:
        raise HistoryUnavailable(f"The history cannot be written: {error.strerror}.") from error


def _sentence(error: Exception) -> str:
    said = str(error)
    return said[:1].upper() + said[1:]


def _told(version: Version) -> dict[str, Any]:
    return {
        "version": version.version,
        "at": version.at,
        "name": version.name,
        "bytes": version.bytes,
        "in_force": version.is_in_force,
    }


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
