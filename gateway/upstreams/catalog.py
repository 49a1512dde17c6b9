"""From what a policy says of an upstream to the handler that serves it."""

from __future__ import annotations

import importlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

from gateway.call import Call, Reply
from gateway.engines.spec import EngineSpec
from gateway.upstreams.engine import EngineRequests
from gateway.upstreams.folding import Folding
from gateway.upstreams.http import Origin, Pool
from gateway.upstreams.openai import OpenAIUpstream, Requests, Wire
from policies.model import Upstream
from routing.breaker import Breaker, BreakerSettings

SECRET_PART = 8  # characters: "Bearer abc..." is a secret, and so is what stands after the blank
PROVIDERS = "gateway.upstreams.providers.upstream"  # imports litellm: only where a policy names a provider


# llama.cpp answers 500 to an image for a model without eyes and 501 to what a model does not serve. When it is ill
# itself it does not answer at all, and its supervisor sees that.
ENGINE_BLAMES_REQUESTS = (500, 501)


class UpstreamHandler(Protocol):
    """A handler at the end of the way, with something to close."""

    async def __call__(self, call: Call, /) -> Reply:
        """Answer the call or raise UpstreamFailed."""

    def close(self) -> None:
        """Close every connection."""


@dataclass(frozen=True, slots=True)
class Station:
    """An upstream as the pipeline uses it: its handler and its breaker, which live and die together."""

    handler: UpstreamHandler
    breaker: Breaker

    def close(self) -> None:
        """Close the handler."""
        self.handler.close()


def needs_providers(upstreams: Mapping[str, Upstream]) -> bool:
    """Say whether any of these upstreams speaks through litellm."""
    return any(upstream.provider for upstream in upstreams.values())


def unpriced(upstream: Upstream) -> Upstream:
    """The upstream without what it costs: another price is no reason to open its connections anew."""
    return upstream.model_copy(update={"prices": {}, "price_list": None, "machine": None})


def import_providers() -> None:
    """Import litellm and have it build what it builds at a first call. Takes seconds: not on the event loop."""
    importlib.import_module(PROVIDERS).warm_up()


def open_station(name: str, upstream: Upstream, spec: EngineSpec | None, policy_dir: Path, state: Path) -> Station:
    """Make the handler and the breaker of one upstream. Raises OSError or ssl.SSLError for an unusable `ca` file."""
    breaker = Breaker(_breaker_settings(upstream))
    if upstream.provider:
        provider = cast(Any, importlib.import_module(PROVIDERS))
        return Station(provider.ProviderUpstream(name, upstream), breaker)
    if spec is not None:
        requests: Requests = EngineRequests(state, spec)
        return Station(Folding(OpenAIUpstream(name, _engine_wire(upstream, spec), requests), spec.context), breaker)
    wire = _wire(upstream, Origin.parse(upstream.url or ""))
    pool = Pool(wire.origin, tls=_tls(upstream, policy_dir), limit=upstream.max_connections)
    return Station(OpenAIUpstream(name, wire, pool), breaker)


def _wire(upstream: Upstream, origin: Origin) -> Wire:
    headers = {name.lower(): value.get_secret_value() for name, value in upstream.headers.items()}
    secrets = list(headers.values())
    if upstream.key is not None:
        headers.setdefault("authorization", f"Bearer {upstream.key.get_secret_value()}")
        secrets.append(upstream.key.get_secret_value())
    timeouts = upstream.timeouts
    return Wire(
        origin=origin,
        headers=tuple(headers.items()),
        secrets=tuple(secrets)
        + tuple(part for secret in secrets for part in secret.split() if len(part) >= SECRET_PART),
        connect=timeouts.connect,
        first_byte=timeouts.first_byte,
        answer=timeouts.answer,
        idle=timeouts.idle,
        stream_usage=upstream.stream_usage,
        accept_models=tuple(upstream.accept_models),
    )


def _engine_wire(upstream: Upstream, spec: EngineSpec) -> Wire:
    """An engine serves one model under one name, whatever the policy's entry is called."""
    wire = _wire(upstream, Origin(tls=False, host="127.0.0.1", port=80, path="/v1"))
    return replace(wire, accept_models=(*wire.accept_models, spec.name), blames_requests=ENGINE_BLAMES_REQUESTS)


def _tls(upstream: Upstream, policy_dir: Path) -> ssl.SSLContext | None:
    if not (upstream.url or "").startswith("https"):
        return None
    return ssl.create_default_context(cafile=str(policy_dir / upstream.ca) if upstream.ca else None)


def _breaker_settings(upstream: Upstream) -> BreakerSettings:
    given = upstream.breaker
    return BreakerSettings(given.window, given.failures, given.slow, given.slow_share, given.open, given.probes)
