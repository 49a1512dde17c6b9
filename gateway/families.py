"""Every metric by name: the contract that /metrics, its documentation and the Grafana dashboard are held to.

A name, its labels and its meaning stay as they are once released. A label's values may grow in number.
"""

from __future__ import annotations

from dataclasses import dataclass

LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)  # seconds, as above


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, what it says, its labels, and, for a histogram, its buckets' upper bounds in seconds."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


# Counted from traces; they outlive a restart.
CALLS = Family("sluice_calls_total", "Calls ended.", ("endpoint", "model", "upstream", "outcome", "streamed"))
TOKENS = Family("sluice_tokens_total", "Tokens of answers given.", ("kind", "model", "upstream"))
ATTEMPTS = Family("sluice_attempts_total", "Upstreams asked; fault is empty where one answered.", ("upstream", "fault"))
DROPPED = Family("sluice_ledger_dropped_total", "Records that the ledger could not keep.")
CACHE_CALLS = Family(
    "sluice_cache_calls_total", "Calls ended, by what the caches had to do with them.", ("kind", "endpoint", "model")
)
SAVED = Family(
    "sluice_cache_saved_tokens_total", "Tokens that hits saved, and kept parts of misses.", ("kind", "model")
)
COST = Family("sluice_cost_usd_total", "What upstreams cost, where it is known.", ("model", "upstream", "basis"))
BASELINE = Family("sluice_baseline_usd_total", "What calls would have cost without the gateway.", ("model",))
OWN = Family("sluice_own_usd_total", "What the gateway's own compute cost.")
GAINS = Family("sluice_saved_usd_total", "What techniques saved; see sluice_lost_usd_total.", ("technique", "how"))
LOSSES = Family("sluice_lost_usd_total", "What techniques cost; net saving = saved - lost.", ("technique", "how"))
SPEND = Family("sluice_spend_usd_total", "What upstreams cost, by who called.", ("tenant", "team", "key"))
UNKNOWN = Family(
    "sluice_unknown_price_calls_total", "Calls whose cost or baseline is not known.", ("model", "upstream")
)
HELD_OUT = Family("sluice_held_out_calls_total", "Calls passed untouched, to measure savings against.")
MACHINE = Family("sluice_machine_seconds_total", "Time of machines of one's own that fell to calls.", ("upstream",))
COUNTERS = (
    CALLS, TOKENS, ATTEMPTS, DROPPED, CACHE_CALLS, SAVED,
    COST, BASELINE, OWN, GAINS, LOSSES, SPEND, UNKNOWN, HELD_OUT, MACHINE,
)  # fmt: skip

_TIMED = ("endpoint", "model", "streamed")
CALL = Family("sluice_call_seconds", "A call from its first byte in to its last byte out.", _TIMED, LATENCY)
FIRST = Family("sluice_first_byte_seconds", "A call until the first byte of its answer went out.", _TIMED, LATENCY)
SPENT = Family("sluice_overhead_seconds", "First byte less the wait for upstreams: our own share.", _TIMED, OVERHEAD)
HISTOGRAMS = (CALL, FIRST, SPENT)

# Told by workers of their own state; they begin anew with each.
RELOADS = Family("sluice_policy_reloads_total", "Policy files read again.", ("result",))
CACHE_DROPPED = Family("sluice_cache_dropped_total", "Changes the store never heard of.", ("worker",))
SPANS_DROPPED = Family("sluice_spans_dropped_total", "Spans that no collector took.", ("worker",))
FLEET_DROPPED = Family("sluice_fleet_dropped_total", "Records that did not reach the fleet's Redis.", ("worker",))
TOLD = (RELOADS, CACHE_DROPPED, SPANS_DROPPED, FLEET_DROPPED)

BUILD = Family("sluice_build_info", "1, with the version that serves this page.", ("version",))
WORKERS = Family("sluice_workers", "Workers that live.")
IN_FLIGHT = Family("sluice_calls_in_flight", "Calls begun and not ended.")
POLICY = Family("sluice_policy_info", "Versions of the policy in force.", ("version",))
POLICY_OK = Family("sluice_policy_last_reload_successful", "0 while the file's last edit is refused, else 1.")
POLICY_AT = Family("sluice_policy_last_reload_timestamp_seconds", "Unix time at which the policy came into force.")
BREAKER = Family(
    "sluice_upstream_state", "Breaker, the worst over workers: 0 closed, 1 half-open, 2 open.", ("upstream",)
)
LEDGER_UP = Family("sluice_ledger_up", "1 while a worker's records get into the ledger.", ("worker",))
LEDGER_BEHIND = Family("sluice_ledger_behind_bytes", "Records that wait to be taken into the ledger.", ("worker",))
MEMORY = Family("sluice_resident_memory_bytes", "Resident memory of a worker.", ("worker",))
CACHE_ENTRIES = Family("sluice_cache_entries", "Answers held.", ("tier", "worker"))
CACHE_BYTES = Family("sluice_cache_bytes", "Bytes of answers held.", ("tier", "worker"))
CACHE_QUEUE = Family("sluice_cache_queue", "Changes not yet in the store behind memory.", ("worker",))
CACHE_STORE_UP = Family("sluice_cache_store_up", "1 while the store behind memory is used.", ("worker",))
FLEET_UP = Family("sluice_fleet_up", "1 while a worker's records reach the fleet's Redis.", ("worker",))
FLEET_QUEUE = Family("sluice_fleet_queue", "Records not yet in the fleet's Redis.", ("worker",))
GAUGES = (
    BUILD, WORKERS, IN_FLIGHT, POLICY, POLICY_OK, POLICY_AT, BREAKER, LEDGER_UP, LEDGER_BEHIND, MEMORY,
    CACHE_ENTRIES, CACHE_BYTES, CACHE_QUEUE, CACHE_STORE_UP, FLEET_UP, FLEET_QUEUE,
)  # fmt: skip

FAMILIES = (*COUNTERS, *HISTOGRAMS, *TOLD, *GAUGES)


def kind(family: Family) -> str:
    """Prometheus' type of a family: "counter", "gauge" or "histogram"."""
    if family.buckets:
        return "histogram"
    return "counter" if family.name.endswith("_total") else "gauge"
