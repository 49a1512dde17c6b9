"""A source with made-up figures, for pages under test."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from gateway.admin.dashboard.data import Json, KeyOrder, Order, Query, Source
from gateway.ledger.reader import LedgerUnavailable

NOW = 1_800_000_000.0
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def totals(**changed: Any) -> Json:
    """Sums of some calls."""
    found = {
        "calls": 1234, "errors": 12, "prompt_tokens": 1_500_000, "completion_tokens": 300_000, "cached_tokens": 90_000,
        "reasoning_tokens": 5000, "saved_tokens": 200_000, "cost_usd": 3.21, "baseline_usd": 5.0, "own_usd": 0.01,
        "saved_usd": 1.78, "unknown": 12, "estimated": 3, "held_out": 50, "hits": 400,
    }  # fmt: skip
    return {**found, **changed}


def top(name: str, calls: int, unknown: int = 0) -> Json:
    """One name among the most used."""
    return {
        "name": name, "calls": calls, "errors": 1, "cost_usd": calls / 400, "saved_usd": calls / 900,
        "unknown": unknown, "tokens": calls * 1400,
    }  # fmt: skip


def overview(query: Query, **changed: Any) -> Json:
    """What the ledger answers of a busy hour."""
    step = (query.until - query.since) / 60
    spread = {"p50": 120.5, "p95": 900.0, "p99": 2100.0}
    return {
        "since": query.since,
        "until": query.until,
        "bucket_s": step,
        "totals": totals(),
        "series": [
            {
                "at": query.since + i * step, "calls": 20 + i % 7, "errors": i % 3 == 0, "hits": 7 + i % 5,
                "cost_usd": 0.05 + (i % 9) / 200, "saved_usd": 0.02 + (i % 4) / 200,
            }
            for i in range(60)
        ],
        "techniques": {
            "exact": {"usd": 1.5, "measured": 1.2, "estimated": 0.3},
            "coalesced": {"usd": 0.4, "measured": 0.4, "estimated": 0.0},
            "overhead": {"usd": -0.12, "measured": 0.0, "estimated": -0.12},
        },
        "kinds": {
            "miss": {"calls": 800, "saved_tokens": 0},
            "exact": {"calls": 390, "saved_tokens": 190_000},
            "coalesced": {"calls": 10, "saved_tokens": 10_000},
            "bypass": {"calls": 34, "saved_tokens": 0},
        },
        "by": {
            "model": [top("gpt-5", 900), top("small", 300, unknown=12)],
            "upstream": [top("openai", 900), top("own", 300, unknown=12)],
            "tenant": [top("acme", 1000), top("zebra", 234)],
            "team": [top("search", 700), top("", 534)],
            "key": [top("app", 1234)],
        },
        "routes": [
            {"model": "gpt-5", "upstream": "openai", "answered_model": "gpt-5", "calls": 900},
            {"model": "auto", "upstream": "own", "answered_model": "small", "calls": 300},
        ],
        "outcomes": {"ok": 1222, "upstream_failed": 9, "client_left": 3},
        "latency_ms": {
            "total": spread, "first_byte": spread, "overhead": {"p50": 0.41, "p95": 0.9, "p99": 2.0},
        },
        "holdout": {
            "held_out": {"calls": 50, "mean_usd": 0.004}, "treated": {"calls": 1184, "mean_usd": 0.0026},
            "saved_per_call_usd": 0.0014, "low": 0.0009, "high": 0.0019, "saved_usd": 1.66,
        },
        **changed,
    }  # fmt: skip


def record(seq: int = 1, **changed: Any) -> Json:
    """One call as a search finds it."""
    found = {
        "seq": seq, "id": f"req-{seq}", "at": NOW - seq * 7, "tenant": "acme", "key": "app", "team": "search",
        "tags": ["nightly"], "tier": "", "gateway": "", "endpoint": "chat", "model": "gpt-5",
        "answered_model": "gpt-5", "upstream": "openai", "rule": "default", "policy": "v1", "status": 200,
        "outcome": "ok", "streamed": False, "attempts": 1, "request_bytes": 1700, "response_bytes": 2100,
        "prompt_tokens": 900, "completion_tokens": 120, "cached_tokens": 0, "reasoning_tokens": 0,
        "cache_write_tokens": None, "removed_tokens": 0, "estimated": False, "total_ms": 812.0,
        "first_byte_ms": 300.5, "upstream_ms": 299.9, "overhead_ms": 0.6, "cache": "miss", "age_s": None,
        "saved_tokens": 0, "cost_usd": 0.0041, "baseline_usd": 0.0041, "own_usd": 0.000001, "saved_usd": -0.000001,
        "basis": "measured", "held_out": False,
    }  # fmt: skip
    return {**found, **changed}


def dear_call(**changed: Any) -> Json:
    """The call that cost most: a long prompt, much reasoning, one attempt that failed."""
    brief = record(
        7, id="dear", prompt_tokens=60_000, completion_tokens=9000, reasoning_tokens=8000, cost_usd=0.165,
        baseline_usd=0.2, saved_usd=0.0349, own_usd=0.0001, attempts=2, total_ms=42_000.0,
    )  # fmt: skip
    used = {"prompt": 60_000, "completion": 9000, "cached": 0, "reasoning": 8000, "estimated": False}
    tried = {"upstream": "openai", "model": "gpt-5", "status": 200, "fault": "", "started_ms": 3000.0,
             "first_byte_ms": 5000.0, "ended_ms": 41_990.0, "usage": used, "seconds": None}  # fmt: skip
    failed = {**tried, "upstream": "azure", "status": 500, "fault": "http_500", "started_ms": 1.0,
              "first_byte_ms": None, "ended_ms": 2990.0, "usage": None}  # fmt: skip
    bill = {"cost": 0.165, "baseline": 0.2, "own": 0.0001, "saved": 0.0349, "basis": "measured",
            "lines": [["failover", 0.035, "measured"], ["overhead", -0.0001, "estimated"]]}  # fmt: skip
    story = {"attempts": [failed, tried], "notes": [["cache", "miss: no equal call was kept"],
             ["failover", "azure failed: http_500"]], "bill": bill}  # fmt: skip
    content = {"request": '{"messages": [{"content": "' + HOSTILE + '"}]}', "answer": HOSTILE}
    return {**brief, "story": story, "content": content, **changed}


PRICES: list[Json] = [
    {"upstream": "openai", "model": "gpt-5", "kind": "table", "source": "table 2026-10-01",
     "date": "2026-10-01", "lines": {"input": 1.25, "cached_input": 0.125, "output": 10.0},
     "steps": [{"above": 100_000, "lines": {"input": 2.5, "cached_input": 0.25, "output": 15.0}}],
     "tiers": {"batch": {"lines": {"input": 0.625, "cached_input": 0.0625, "output": 5.0}, "steps": []}}},
    {"upstream": "own", "model": "small", "kind": "machine", "source": "policy",
     "machine": {"usd_per_hour": 1.2, "account": "amortized", "utilization": 0.31, "prefill": 9000.0, "decode": 60.0}},
    {"upstream": "own", "model": "other", "kind": "unknown", "source": "", "date": None},
]  # fmt: skip


@dataclass
class MadeUpCalls:
    """Calls that were never made; keeps what it was asked."""

    asked: list[Any] = field(default_factory=list)
    records: list[Json] = field(default_factory=lambda: [record(seq) for seq in range(80, 0, -1)])
    sums: Json = field(default_factory=dict)
    is_dead: bool = False

    def overview(self, query: Query) -> Json:
        self._ask(query)
        return overview(query, **self.sums)

    def search(self, query: Query, order: Order, limit: int, before: int | None) -> list[Json]:
        self._ask((query, order, limit, before))
        return [found for found in self.records if before is None or found["seq"] < before][:limit]

    def one(self, id: str) -> Json | None:  # noqa: A002 - the protocol's name
        self._ask(id)
        return dear_call(id=id) if id != "missing" else None

    def profile(self, since: float, until: float, by: str) -> list[Json]:
        self._ask((since, until, by))
        spread = {"p50": 120.0, "p95": 800.0, "p99": 1500.0}
        return [
            {
                "flow": "gpt-5", "calls": 900, "output_tokens_per_s": 61.2, "ttft_ms": spread, "total_ms": spread,
                "usd_per_million_tokens": 2.1, "unknown": 3,
                "context_tokens": {"p50": 900, "p95": 6000, "max": 60_000}, "concurrency": {"mean": 1.4, "peak": 9},
            },
        ]  # fmt: skip

    def _ask(self, what: Any) -> None:
        if self.is_dead:
            raise LedgerUnavailable("The ledger cannot be read now.")
        self.asked.append(what)


@dataclass
class MadeUpFleet:
    """Upstreams that nobody runs."""

    told: list[Json] = field(default_factory=lambda: list(PRICES))
    seen: float = NOW - 90  # when its second worker wrote last

    def upstreams(self) -> Json:
        states = {
            "openai": {"state": "closed", "workers": {"0": "closed", "1": "closed"}},
            "own": {"state": "open", "workers": {"0": "open", "1": "half-open"}},
        }
        engine = {"name": "chat", "key": "k", "state": "ready", "pid": 7, "restarts": 0, "last_exit": None}
        workers = [
            {"worker": 0, "alive": True, "seen": NOW},
            {"worker": 1, "alive": self.seen == NOW, "seen": self.seen},
        ]
        return {"upstreams": states, "engines": {"engines": [engine]}, "workers": workers}

    def prices(self) -> list[Json]:
        return self.told


@dataclass
class MadeUpPolicies:
    """A policy with one version before it."""

    restored: list[str] = field(default_factory=list)
    named: list[tuple[str, str]] = field(default_factory=list)
    drift: str | None = ""  # None: the file does not differ from what is in force
    refusal: str = "policy.yaml:7:3: upstreams.openai: unknown key 'bass_url'; did you mean 'base_url'?"

    def state(self) -> Json:
        worker = {"worker": 0, "alive": True, "seen": NOW, "version": "b" * 12, "reloads": {"ok": 2, "refused": 1}}
        return {
            "file": "policy.yaml", "text": "version: 1\nupstreams: {}\n", "error": None,
            "differs": self.drift is not None, "drift": self.drift or "",
            "workers": [{**worker, "refusal": self.refusal}, {**worker, "worker": 1, "alive": False, "refusal": ""}],
        }  # fmt: skip

    def versions(self) -> list[Json]:
        return [
            {"version": "b" * 12, "at": NOW - 100, "name": "", "bytes": 900, "is_in_force": True},
            {"version": "a" * 12, "at": NOW - 9000, "name": "before-launch", "bytes": 870, "is_in_force": False},
        ]

    def text(self, version: str) -> str:
        return f"# version {version}\n"

    def difference(self, older: str, newer: str) -> str:
        return f"--- {older}\n+++ {newer}\n@@ -1 +1 @@\n-cache: off\n+cache: on\n"

    def restore(self, version: str) -> None:
        self.restored.append(version)

    def name(self, version: str, name: str) -> None:
        self.named.append((version, name))


def key(name: str, **changed: Any) -> Json:
    """One key as a list shows it."""
    found = {
        "name": name, "prefix": "sk-sluice-abcd", "tenant": "acme", "team": "", "tags": [], "models": [],
        "created": NOW - 9000, "expires": None, "source": "issued", "state": "living",
    }  # fmt: skip
    return {**found, **changed}


@dataclass
class MadeUpKeys:
    """Keys that open nothing."""

    kept: list[Json] = field(
        default_factory=lambda: [
            key("app", team="search", models=["gpt-5"]),
            key("gone", state="revoked"),
        ]
    )

    trouble: str = ""

    def list(self) -> Json:
        return {"keys": self.kept, "trouble": self.trouble}

    def create(self, order: KeyOrder) -> str:
        made = key(order.name, tenant=order.tenant, team=order.team, models=list(order.models), tags=list(order.tags))
        self.kept = [*self.kept, made]
        return "sk-sluice-made-up"

    def revoke(self, name: str) -> None:
        self.kept = [key for key in self.kept if key["name"] != name]


def made_up(calls: MadeUpCalls | None = None, **changed: Any) -> Source:
    """A whole source."""
    source = Source(calls or MadeUpCalls(), MadeUpFleet(), MadeUpPolicies(), MadeUpKeys())
    return replace(source, **changed)
