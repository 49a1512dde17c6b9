"""The component library's files and our own: compressed once, named by their content, and kept by the browser.

Dash would send each of its files as it is and with every page; the largest has a megabyte. Nothing but what the pages
need is in the table: no plotly.js, no development builds.
"""

from __future__ import annotations

import gzip
import hashlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path

from dash.fingerprint import check_fingerprint
from starlette.requests import Request
from starlette.responses import Response

FOREVER = "private, max-age=31536000, immutable"
_ASSETS = Path(__file__).parent / "assets"
_KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".ico": "image/x-icon"}


@dataclass(frozen=True, slots=True)
class Bundle:
    """One file as it is sent."""

    body: bytes
    packed: bytes
    kind: str
    etag: str


class Bundles:
    """Files by package and path, read and compressed when they are first asked for."""

    def __init__(self, allowed: dict[str, set[str]]) -> None:
        """`allowed` is what the library registered for its pages; it may grow while pages are made."""
        self._allowed = allowed
        self._kept: dict[tuple[str, str], Bundle] = {}

    def answer(self, request: Request) -> Response:
        """One file of the library, or 404."""
        package, path = request.path_params["package"], request.path_params["path"]
        plain, is_named = check_fingerprint(path)  # type: ignore[no-untyped-call]
        if plain not in self._allowed.get(package, set()) or plain.endswith(".map"):
            return Response(status_code=404)
        if (package, plain) not in self._kept:
            self._kept[package, plain] = _bundle(pkgutil.get_data(package, plain) or b"", plain)
        return sent(self._kept[package, plain], request, is_named=is_named)

    def own(self, request: Request) -> Response:
        """One of our own files, under the name that `own_link` gave it."""
        name = request.path_params["name"]
        if name not in {path.name for path in _ASSETS.iterdir()}:
            return Response(status_code=404)
        return sent(own_bundle(name), request, is_named="v" in request.query_params)


def own_bundle(name: str) -> Bundle:
    """One of our own files: small enough to be read anew."""
    return _bundle((_ASSETS / name).read_bytes(), name)


def own_link(name: str) -> str:
    """Its address, which changes when it changes."""
    return f"/_assets/{name}?v={own_bundle(name).etag.strip(chr(34))}"


def _bundle(body: bytes, name: str) -> Bundle:
    kind = _KINDS.get(Path(name).suffix, "application/octet-stream")
    return Bundle(body, gzip.compress(body, 6), kind, f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"')


def sent(bundle: Bundle, request: Request, *, is_named: bool) -> Response:
    """The file, or that the browser has it already."""
    headers = {
        "etag": bundle.etag,
        "vary": "accept-encoding",
        "cache-control": FOREVER if is_named else "private, no-cache",
    }
    if request.headers.get("if-none-match") == bundle.etag:
        return Response(status_code=304, headers=headers)
    packs = "gzip" in request.headers.get("accept-encoding", "")
    if packs:
        headers["content-encoding"] = "gzip"
    return Response(bundle.packed if packs else bundle.body, headers=headers, media_type=bundle.kind)
