"""The policy in force, compiled: a reload builds everything new, then swaps one reference.

A call takes the pipeline of the moment with `enter` and keeps it to its end with `leave`; a pipeline that has been
replaced gives its tools back when its last call has left. So no call sees half of one policy and half of another, and
no stream is cut by a reload.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from types import MappingProxyType

from gateway.auth import Gate
from gateway.background import Background
from gateway.build import Dispatch, Kind, Step, Tools, baselines_of, plan
from gateway.caches import Caches, open_caches
from gateway.call import Caller, Handler
from gateway.engines.endpoint import read_endpoint
from gateway.engines.files import digest_of
from gateway.engines.spec import EngineSpec, specs
from gateway.errors import BadRequest, Forbidden, UnknownModel
from gateway.holdout import Holdout
from gateway.keys.record import IssuedKey
from gateway.money.bill import Books
from gateway.money.machine import Meter
from gateway.money.prices import Prices
from gateway.money.table import Table
from gateway.stack import stack
from gateway.telemetry.context import SpanIds
from gateway.tools import ToolBox
from gateway.trace import Trace
from gateway.upstreams.catalog import Station, import_providers, needs_providers, open_station, unpriced
from policies.loader import LoadedPolicy
from policies.model import Policy, Rule
from routing.budget import RetryBudget

NAMES_SHOWN = 20
NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Way:
    """What serves one kind of call: the rule that applies, the layers, and the handler made of them."""

    rule: Rule
    steps: list[Step]
    handler: Handler


class Pipeline:
    """One policy, compiled. Cheap to make and thrown away at the next reload."""

    def __init__(
        self,
        loaded: LoadedPolicy,
        stations: dict[str, Station],
        caches: Caches,
        meters: Mapping[str, Meter],
        leases: list[Hashable],
        host: Runtime,
        weights: Mapping[str, str],
    ) -> None:
        """`host` counts the calls on this pipeline, those of its own making included; `weights` as in `Tools`."""
        policy = loaded.policy
        self.loaded = loaded
        self.stations = stations
        self.caches = caches
        self.weights = weights
        self.leases = leases
        self.calls = 0
        self.is_retired = False
        self.gate = host.gate_for(policy)
        self.body_limit: int = policy.limits.body
        self.meters = meters
        self.prices = Prices(policy, host.table, meters)
        self.books = Books(self.prices, baselines_of(policy), policy.ledger.gateway_usd_per_hour)
        self.background = Background(host.record, partial(host.join, self), partial(host.leave, self), self.books.bill)
        self._budgets: dict[str, RetryBudget] = {}
        self._ways: dict[tuple[str, str, str, int], Way] = {}  # by model, tenant, endpoint and which rule
        self._dispatch = Dispatch(stations)
        self._asks_calls = any(rule.match.asks_the_call for rule in policy.rules)
        self._asked_headers = sorted({name.lower() for rule in policy.rules for name in rule.match.header})

    def way(
        self,
        caller: Caller,
        model: str,
        endpoint: str,
        tags: Sequence[str] = (),
        headers: Mapping[bytes, bytes] = NO_HEADERS,
    ) -> Way:
        """How a call of this kind is served. Raises UnknownModel, Forbidden or BadRequest.

        `tags` are the call's own and its key's; names of `headers` are in lower case.
        """
        # Most policies tell calls apart by nothing of their own: then what fits is known without looking.
        rule = self._rule(caller, model, endpoint, tags, headers) if self._asks_calls else None
        key = (model, caller.tenant, endpoint, 0 if rule is None else id(rule))
        found = self._ways.get(key)
        if found is None:
            self._check(caller, model, endpoint)
            rule = rule or self._rule(caller, model, endpoint, tags, headers)
            found = self._ways[key] = self._compile(rule, Kind(model, caller.tenant, endpoint))
        elif not caller.may_use(model):
            self._check(caller, model, endpoint)
        return found

    def _rule(
        self, caller: Caller, model: str, endpoint: str, tags: Sequence[str], headers: Mapping[bytes, bytes]
    ) -> Rule:
        told = ((name, headers.get(name.encode())) for name in self._asked_headers)
        words = {name: value.decode("utf-8", "replace") for name, value in told if value is not None}
        return self.loaded.policy.rule_for(model, caller.tenant, endpoint, tags, words)

    def visible_models(self, caller: Caller) -> list[str]:
        """The models this caller may use, as the policy orders them."""
        return [name for name in self.loaded.policy.models if caller.may_use(name)]

    def _compile(self, rule: Rule, kind: Kind) -> Way:
        self._budgets.setdefault(rule.name, RetryBudget(rule.retry.budget))
        steps = plan(self.loaded.policy, rule, kind, self.tools())
        handler = stack([step.layer for step in steps], self._dispatch)
        if rule.holdout:
            untouched = stack([step.layer for step in steps if not step.saves], self._dispatch)
            handler = Holdout(handler, untouched, rule.holdout)
        return Way(rule, steps, handler)

    def reprice(self, table: Table) -> None:
        """Price calls by another table from now on."""
        self.prices = Prices(self.loaded.policy, table, self.meters)
        self.books.use(self.prices)

    def tools(self) -> Tools:
        """What this pipeline's layers are made of."""
        return Tools(self.stations, self.caches, self._budgets, self.background, self.books, self.meters, self.weights)

    def _check(self, caller: Caller, model: str, endpoint: str) -> None:
        names = self.visible_models(caller)
        if model not in self.loaded.policy.models:
            shown = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
            raise UnknownModel(f"The model '{model[:200]}' does not exist. There are: {shown}.", param="model")
        if not caller.may_use(model):
            raise Forbidden(f"This key may not use the model '{model}'.", param="model")
        serves = self.loaded.policy.models[model].serves
        if endpoint not in serves:
            raise BadRequest(f"The model '{model}' serves {', '.join(serves)}, not {endpoint}.", param="model")


def _forget(trace: Trace) -> None:
    """Write nothing down: for whoever serves no calls."""


class Runtime:
    """Holds the pipeline in force and swaps it."""

    def __init__(
        self,
        state: Path,
        weights: Path,
        *,
        needs_keys: bool = False,
        redis_url: str = "",
        record: Callable[[Trace], None] = _forget,
        begin: Callable[[Mapping[bytes, bytes]], SpanIds] | None = None,
    ) -> None:
        """`record` writes down the calls that no caller waits for; `begin` says under which ids a call is traced."""
        self._state = state
        self._weights = weights
        self._redis_url = redis_url
        self.record = record
        self.begin = begin
        self._needs_keys = needs_keys  # bound to more than loopback: a policy without keys must not come into force
        self._tools = ToolBox()
        self.table = Table(state)
        self._digests: dict[str, str] = {}  # of weights, by the key of the engine that serves them
        self._issued: Sequence[IssuedKey] = ()
        self._had_keys = False
        self._pipeline: Pipeline | None = None
        self.calls = 0
        self.reloads = {"ok": 0, "refused": 0}
        self.last_refusal: str | None = None

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline in force."""
        if self._pipeline is None:
            raise RuntimeError("no policy has been loaded")
        return self._pipeline

    def use_keys(self, issued: Sequence[IssuedKey], *, had_keys: bool) -> None:
        """Have these issued keys in force from the next call on; `had_keys` as in `Gate`."""
        self._issued, self._had_keys = issued, had_keys
        if self._pipeline is not None:
            self._pipeline.gate = self.gate_for(self._pipeline.loaded.policy)

    def gate_for(self, policy: Policy) -> Gate:
        """Who may call under this policy and with the keys issued now."""
        return Gate(policy.keys, list(policy.models), self._issued, had_keys=self._had_keys)

    def use_prices(self) -> None:
        """Look for a fresher price table; calls are priced by it from now on."""
        self.table = Table(self._state)
        if self._pipeline is not None:
            self._pipeline.reprice(self.table)

    def enter(self) -> Pipeline:
        """Begin a call on the pipeline in force; `leave` must follow."""
        pipeline = self.pipeline
        self.join(pipeline)
        return pipeline

    def join(self, pipeline: Pipeline) -> None:
        """Begin a call on this pipeline; `leave` must follow."""
        pipeline.calls += 1
        self.calls += 1

    def leave(self, pipeline: Pipeline) -> None:
        """End a call."""
        pipeline.calls -= 1
        self.calls -= 1
        if pipeline.is_retired and pipeline.calls == 0:
            self._discard(pipeline)

    async def load(self, loaded: LoadedPolicy, *, wait_for_engines: float = 0.0) -> None:
        """Compile a policy and put it in force. Raises PolicyRefused, OSError or ssl.SSLError; then nothing changed.

        `wait_for_engines` is how many seconds an engine that the new policy adds may take to be ready before the swap.
        """
        if self._needs_keys and not (loaded.policy.keys or self._had_keys):
            raise PolicyRefused("the gateway listens beyond this machine, so there must be keys")
        if needs_providers(loaded.policy.upstreams):
            await asyncio.to_thread(import_providers)
        engines = specs(loaded.policy, loaded.path.parent, self._weights, self._state)
        if wait_for_engines:
            await self._engines_up(engines, wait_for_engines)
        weights = await asyncio.to_thread(self._read_weights, engines)
        await asyncio.to_thread(lambda: self.table.book)  # read beside the loop, once
        pipeline = self._compile(loaded, engines, weights)
        old, self._pipeline = self._pipeline, pipeline
        if old is not None:
            self._retire(old)

    def refuse(self, reason: str) -> None:
        """Remember why an edit did not come into force."""
        self.reloads["refused"] += 1
        self.last_refusal = reason

    def accept(self) -> None:
        """Count an edit that came into force."""
        self.reloads["ok"] += 1
        self.last_refusal = None

    def engines_waiting(self) -> list[str]:
        """The engines of the policy in force that are not ready."""
        loaded = self.pipeline.loaded
        wanted = specs(loaded.policy, loaded.path.parent, self._weights, self._state)
        return [name for name, spec in wanted.items() if read_endpoint(self._state, spec) is None]

    async def aclose(self) -> None:
        """Have what is still to be written to the caches written, within their bound; then close."""
        if self._pipeline is not None:
            await self._pipeline.caches.flush()
        self.close()

    def close(self) -> None:
        """Give every tool back."""
        if self._pipeline is not None:
            self._pipeline.background.cancel()
            self._retire(self._pipeline)
            self._pipeline = None

    def _read_weights(self, engines: dict[str, EngineSpec]) -> dict[str, str]:
        """A digest of what each engine serves. An engine that runs does not read its file again, so neither do we."""
        for spec in engines.values():
            if not self._digests.get(spec.key):
                self._digests[spec.key] = digest_of(spec.gguf)
        return {name: self._digests[spec.key] for name, spec in engines.items()}

    def _compile(self, loaded: LoadedPolicy, engines: dict[str, EngineSpec], weights: dict[str, str]) -> Pipeline:
        stations: dict[str, Station] = {}
        leases: list[Hashable] = []
        try:
            for name, upstream in loaded.policy.upstreams.items():
                spec = engines.get(name)
                key = (name, unpriced(upstream), spec.key if spec else "")
                make = partial(open_station, name, upstream, spec, loaded.path.parent, self._state)
                stations[name] = self._tools.borrow(key, make)
                leases.append(key)
            shelf = ("caches", loaded.policy.cache)
            caches = self._tools.borrow(shelf, partial(open_caches, loaded.policy.cache, self._state, self._redis_url))
            leases.append(shelf)
            meters = self._meters(loaded.policy, leases)
            return Pipeline(loaded, stations, caches, meters, leases, self, weights)
        except BaseException:
            for lease in leases:
                self._tools.give_back(lease)
            raise

    def _meters(self, policy: Policy, leases: list[Hashable]) -> dict[str, Meter]:
        """A meter for each machine of one's own; it knows of the calls that began under the policy before."""
        meters: dict[str, Meter] = {}
        for name, upstream in policy.upstreams.items():
            if upstream.machine is not None:
                key = ("meter", name, upstream.url, upstream.gguf)
                meters[name] = self._tools.borrow(key, partial(Meter, monotonic()))
                leases.append(key)
        return meters

    def _retire(self, pipeline: Pipeline) -> None:
        pipeline.is_retired = True
        if pipeline.calls == 0:
            self._discard(pipeline)

    def _discard(self, pipeline: Pipeline) -> None:
        for key in pipeline.leases:
            self._tools.give_back(key)

    async def _engines_up(self, engines: dict[str, EngineSpec], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while any(read_endpoint(self._state, spec) is None for spec in engines.values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise PolicyRefused(f"an engine of the new policy was not ready within {seconds:g} s") from error


class PolicyRefused(Exception):
    """A well-formed policy that cannot come into force here."""
