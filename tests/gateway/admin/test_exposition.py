"""Tests of gateway.admin.exposition: what Prometheus reads, read with Prometheus' own parser."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from gateway.admin.exposition import build, render
from gateway.counts import Snapshot, Status
from gateway.families import FAMILIES, kind
from gateway.metrics import Metrics
from gateway.trace import Bill
from tests.gateway.ledger.traces import answered, hit, refused

NOW = 1000.0
Sample = tuple[str, tuple[tuple[str, str], ...]]


def worker(number: int, metrics: Metrics | None = None, status: Status | None = None, at: float = NOW) -> Snapshot:
    """A worker's file as just written."""
    return (metrics or Metrics()).snapshot(number, at, status or Status())


def samples(*snapshots: Snapshot) -> dict[Sample, float]:
    """Every sample of the page by its name and labels."""
    text = render(list(snapshots), NOW)[0].decode()
    found = [sample for family in parse(text) for sample in family.samples]
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in found}


def test_workers_are_summed() -> None:
    """Calls of two workers are one number."""
    metrics = Metrics()
    metrics.count(answered())
    labels = {"endpoint": "chat", "model": "small", "upstream": "local", "outcome": "ok", "streamed": "false"}
    page = samples(worker(0, metrics), worker(1, metrics))
    assert page["sluice_calls_total", tuple(sorted(labels.items()))] == 2
    assert page["sluice_ledger_dropped_total", ()] == 0


def test_buckets_rise_to_the_count() -> None:
    """A histogram's buckets are cumulative, end in +Inf, and +Inf equals the count."""
    metrics = Metrics()
    for ended in (50.004, 50.2, 50.3, 2000.0):
        metrics.count(answered(ended=ended))
    page = samples(worker(0, metrics))
    of_call = {dict(labels).get("le"): v for (name, labels), v in page.items() if name == "sluice_call_seconds_bucket"}
    assert list(of_call.values()) == sorted(of_call.values())
    assert (of_call["0.005"], of_call["0.25"], of_call["600.0"], of_call["+Inf"]) == (1, 2, 3, 4)
    count = [v for (name, _), v in page.items() if name == "sluice_call_seconds_count"]
    assert count == [4]


def test_gauges_come_from_workers_that_live() -> None:
    """A worker that stopped writing has no calls in flight and no say about upstreams; its counts stay."""
    metrics = Metrics()
    metrics.count(refused())
    alive = worker(0, status={"in_flight": 2, "upstreams": {"a": 0, "b": 1}, "policy": "v2"})
    dead = worker(1, metrics, {"in_flight": 9, "upstreams": {"a": 2}, "policy": "v1"}, at=NOW - 60)
    page = samples(alive, dead)
    assert page["sluice_calls_in_flight", ()] == 2
    assert page["sluice_upstream_state", (("upstream", "a"),)] == 0
    assert page["sluice_upstream_state", (("upstream", "b"),)] == 1
    assert page["sluice_policy_info", (("version", "v2"),)] == 1
    assert ("sluice_policy_info", (("version", "v1"),)) not in page
    assert sum(v for (name, _), v in page.items() if name == "sluice_calls_total") == 1


def test_an_upstreams_worst_state_is_shown() -> None:
    """One worker whose breaker is open is enough to see it."""
    page = samples(worker(0, status={"upstreams": {"a": 0}}), worker(1, status={"upstreams": {"a": 2}}))
    assert page["sluice_upstream_state", (("upstream", "a"),)] == 2


def test_an_edit_counts_once() -> None:
    """Two workers that read the same edit make one reload, not two."""
    page = samples(*(worker(n, status={"reloads_ok": 3, "reloads_refused": 1}) for n in range(2)))
    assert page["sluice_policy_reloads_total", (("result", "ok"),)] == 3
    assert page["sluice_policy_reloads_total", (("result", "refused"),)] == 1


def test_a_worker_that_cannot_write_its_ledger_shows() -> None:
    """The gauge flips with the state of the ledger."""
    well, ill = worker(0), {**worker(1), "ledger": "failing: disk full"}
    page = samples(well, ill)  # type: ignore[arg-type]  # a spread TypedDict is a plain dict to mypy
    assert page["sluice_ledger_up", (("worker", "0"),)] == 1
    assert page["sluice_ledger_up", (("worker", "1"),)] == 0
    assert page["sluice_resident_memory_bytes", (("worker", "0"),)] > 0


def test_what_waits_for_the_ledger_shows() -> None:
    """Bytes in the spool, by worker."""
    page = samples(worker(0), {**worker(1), "behind": 512})
    assert page["sluice_ledger_behind_bytes", (("worker", "0"),)] == 0
    assert page["sluice_ledger_behind_bytes", (("worker", "1"),)] == 512


def test_no_workers_make_a_valid_page() -> None:
    """Before any worker wrote its file the page is there."""
    assert samples()["sluice_calls_in_flight", ()] == 0


@given(st.text(min_size=1, max_size=200), st.text(max_size=200))
def test_any_name_is_escaped(model: str, version: str) -> None:
    r"""Quotes, backslashes and newlines in a name come back from Prometheus' parser as they went in."""
    metrics = Metrics()
    metrics.count(answered(model=model))
    page = samples(worker(0, metrics, {"policy": version}))
    models = {dict(labels)["model"] for name, labels in page if name == "sluice_calls_total"}
    assert models == {model}
    assert {dict(labels)["version"] for name, labels in page if name == "sluice_policy_info"} == {version} - {""}


def test_openmetrics_for_who_asks() -> None:
    """A scraper that accepts OpenMetrics gets it, valid to its parser."""
    metrics = Metrics()
    metrics.count(answered())
    body, content_type = render([worker(0, metrics)], NOW, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = parse_openmetrics(body.decode())  # type: ignore[no-untyped-call]
    assert {family.name for family in families} >= {"sluice_calls", "sluice_call_seconds"}


CACHE = {"entries": 3, "bytes": 999, "queue": 2, "dropped": 5, "store": "closed"}


def test_each_worker_tells_of_its_memory() -> None:
    """Entries, bytes, what waits and what was lost, by worker; one that has told nothing has no series."""
    page = samples(worker(0, status={"cache": CACHE}), worker(1))
    by_name = {name: value for (name, labels), value in page.items() if ("worker", "0") in labels}
    assert by_name["sluice_cache_entries"] == 3
    assert by_name["sluice_cache_bytes"] == 999
    assert by_name["sluice_cache_queue"] == 2
    assert by_name["sluice_cache_dropped_total"] == 5
    assert by_name["sluice_cache_store_up"] == 1
    assert ("sluice_cache_entries", (("tier", "memory"), ("worker", "0"))) in page
    assert ("sluice_cache_entries", (("tier", "memory"), ("worker", "1"))) not in page


def test_a_store_that_is_left_alone_is_down() -> None:
    """While the breaker is not closed the store counts as down; where there is none it has no series."""
    workers = [worker(n, status={"cache": {**CACHE, "store": store}}) for n, store in enumerate(("open", "none"))]
    page = samples(*workers)
    assert page["sluice_cache_store_up", (("worker", "0"),)] == 0
    assert ("sluice_cache_store_up", (("worker", "1"),)) not in page


def test_hits_are_counted_by_kind() -> None:
    """Calls and saved tokens of two workers are one number."""
    metrics = Metrics()
    metrics.count(hit())
    page = samples(worker(0, metrics), worker(1, metrics))
    labels = {"kind": "exact", "endpoint": "chat", "model": "small"}
    assert page["sluice_cache_calls_total", tuple(sorted(labels.items()))] == 2
    assert page["sluice_cache_saved_tokens_total", (("kind", "exact"), ("model", "small"))] == 240


def test_every_family_is_on_the_page_and_no_other() -> None:
    """The page shows what `families` names: each name once, with its type."""
    families = list(parse(render([worker(0)], NOW)[0].decode()))
    told = {(f"{f.name}_total" if f.type == "counter" else f.name): f.type for f in families}
    assert told == {family.name: kind(family) for family in FAMILIES}


def test_money_is_on_the_page() -> None:
    """What a call cost, and what it lost beside what it saved."""
    lines = (("exact", 0.5, "measured"), ("overhead", -0.25, "estimated"))
    metrics = Metrics()
    metrics.count(answered(bill=Bill(1.0, 1.25, 0.25, 0.0, "measured", lines), team="search"))
    page = samples(worker(0, metrics), worker(1, metrics))
    assert page["sluice_spend_usd_total", (("key", "app"), ("team", "search"), ("tenant", "acme"))] == 2
    assert page["sluice_saved_usd_total", (("how", "measured"), ("technique", "exact"))] == 1
    assert page["sluice_lost_usd_total", (("how", "estimated"), ("technique", "overhead"))] == 0.5


def test_a_refused_edit_shows_until_it_is_mended() -> None:
    """One worker that refuses the file's edit is enough; the time is when the policy in force came in."""
    well: Status = {"policy": "v1", "refusal": "", "policy_at": 900.0}
    page = samples(worker(0, status=well), worker(1, status={**well, "refusal": "line 3", "policy_at": 901.5}))
    assert page["sluice_policy_last_reload_successful", ()] == 0
    assert page["sluice_policy_last_reload_timestamp_seconds", ()] == 901.5
    assert samples(worker(0, status=well))["sluice_policy_last_reload_successful", ()] == 1


def test_the_page_tells_of_version_and_workers() -> None:
    """The version installed, workers that live, and spans that were lost, where any are made."""
    page = samples(worker(0, status={"spans_dropped": 7}), worker(1, at=NOW - 60))
    assert page["sluice_build_info", (("version", build()),)] == 1
    assert page["sluice_workers", ()] == 1
    assert page["sluice_spans_dropped_total", (("worker", "0"),)] == 7


def test_each_worker_tells_how_its_records_reach_the_fleet() -> None:
    """A Redis that takes no records shows, with what waits and what was given up; without one there is no series."""
    ill = {"state": "failing", "reason": "no answer", "backlog": 7, "dropped": 2}
    page = samples(worker(0, status={"fleet": ill}), worker(1, status={"fleet": {}}))
    found = {name: value for (name, labels), value in page.items() if name.startswith("sluice_fleet_")}
    assert found == {"sluice_fleet_up": 0, "sluice_fleet_queue": 7, "sluice_fleet_dropped_total": 2}
