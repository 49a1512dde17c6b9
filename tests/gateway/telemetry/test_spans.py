"""Tests of gateway.telemetry.spans: spans as a collector gets them, and collectors that are ill or gone."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from time import monotonic

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from gateway.telemetry.context import HEADER, read
from gateway.telemetry.spans import Spans, from_environment
from gateway.trace import Attempt, Bill, Trace
from policies.model import Policy
from policies.upstreams import Upstream
from tests.gateway.ledger.traces import answered, hit, refused
from tests.gateway.telemetry.collector import collecting

CALLER = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ON = ParentBased(ALWAYS_ON)


def exported(*traces: Trace, upstreams: dict[str, Upstream] | None = None) -> list[ReadableSpan]:
    """The spans of some calls, the call's own before its attempts."""
    memory = InMemorySpanExporter()
    spans = Spans(memory, sampler=ON)
    if upstreams is not None:
        spans.know(Policy(upstreams=upstreams))
    for trace in traces:
        spans.add(trace)
    spans.start()
    spans.close()
    assert spans.dropped == 0
    return sorted(memory.get_finished_spans(), key=lambda span: span.kind is not SpanKind.SERVER)


def failed_over() -> Trace:
    """A call whose first upstream refused it after 20 ms."""
    trace = answered()
    trace.attempts.insert(0, Attempt("far", "m", started=50.0, ended=50.02, status=503, fault="http_503"))
    return trace


def test_a_call_is_one_span_and_each_attempt_one_below_it() -> None:
    """A call that failed over once is three spans of one trace, with their times and kinds."""
    call, far, local = exported(failed_over())
    assert [span.kind for span in (call, far, local)] == [SpanKind.SERVER, SpanKind.CLIENT, SpanKind.CLIENT]
    assert [span.name for span in (call, far, local)] == ["chat small", "chat m", "chat small-q8"]
    assert call.context is not None
    assert call.parent is None
    for span in (far, local):
        assert span.parent == call.context
        assert span.context is not None
        assert span.context.trace_id == call.context.trace_id
    assert call.start_time == 1_800_000_000 * 10**9
    assert [round(((s.end_time or 0) - (s.start_time or 0)) / 1e6) for s in (call, far, local)] == [300, 20, 280]


def test_faults_are_errors() -> None:
    """An attempt that failed is an error, the call that went on to its answer is none; a broken call is one."""
    call, far, local = exported(failed_over())
    assert [s.status.status_code for s in (call, far, local)] == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]
    (broken,) = exported(answered(attempts=[], status=503, outcome="breaker_open"))
    assert broken.status.status_code is StatusCode.ERROR
    (wrong,) = exported(refused())
    assert wrong.status.status_code is StatusCode.UNSET
    assert dict(wrong.attributes or {})["error.type"] == "model_not_found"


def test_attempts_tell_who_was_asked() -> None:
    """Provider and server come from the policy in force; an upstream that it no longer has is told by name alone."""
    _, far, local = exported(failed_over(), upstreams={"local": Upstream(url="http://gpu-1:8000/v1")})
    assert dict(local.attributes or {})["gen_ai.provider.name"] == "openai"
    assert dict(local.attributes or {})["server.address"] == "gpu-1"
    assert "gen_ai.provider.name" not in dict(far.attributes or {})


def test_the_caller_s_span_is_the_parent() -> None:
    """A call under a caller's span belongs to its trace, and its upstream is told of the very span that is exported."""
    spans = Spans(InMemorySpanExporter(), sampler=ON)
    ids = spans.begin({HEADER: CALLER})
    call, attempt = exported(answered(span=ids))
    caller, told = read(CALLER), read(ids.header(1))
    assert caller is not None
    assert told is not None
    assert call.parent is not None
    assert attempt.context is not None
    assert (call.parent.trace_id, call.parent.span_id) == (caller.trace, caller.span)
    assert (attempt.context.trace_id, attempt.context.span_id) == (told.trace, told.span)


def test_a_call_without_ids_begins_a_trace() -> None:
    """A refresh that no client asked for has a trace of its own."""
    first, second = exported(hit("a"), hit("b"))
    assert first.context is not None
    assert second.context is not None
    assert first.context.trace_id != second.context.trace_id


def test_a_caller_who_is_not_traced_is_not_traced_here() -> None:
    """By default the caller decides; what is not sampled is neither exported nor counted as lost."""
    memory = InMemorySpanExporter()
    spans = Spans(memory, sampler=ON)
    ids = spans.begin({HEADER: CALLER[:-1] + b"0"})
    spans.add(answered(span=ids))
    spans.start()
    spans.close()
    assert not ids.is_sampled
    assert memory.get_finished_spans() == ()
    assert spans.dropped == 0


def test_the_sampler_decides_once() -> None:
    """A share of calls is traced, each with all of its spans; what upstreams were told agrees with what is exported."""
    memory = InMemorySpanExporter()
    spans = Spans(memory, sampler=ParentBased(TraceIdRatioBased(0.5)))
    begun = [spans.begin({}) for _ in range(200)]
    for ids in begun:
        spans.add(answered(span=ids))
    spans.start()
    spans.close()
    sampled = [ids.trace for ids in begun if ids.is_sampled]
    assert 50 < len(sampled) < 150
    assert sorted(s.context.trace_id for s in memory.get_finished_spans() if s.context) == sorted(sampled * 2)


def test_nothing_is_sampled_where_nothing_should_be() -> None:
    """A sampler that is always off leaves no span."""
    assert not Spans(InMemorySpanExporter(), sampler=ALWAYS_OFF).begin({}).is_sampled


def test_a_trace_filled_wrongly_costs_its_span_only() -> None:
    """What cannot be made into a span is counted, and the next call's is made."""
    memory = InMemorySpanExporter()
    spans = Spans(memory, sampler=ON)
    spans.add(answered(started="yesterday"))
    spans.add(hit())
    spans.start()
    spans.close()
    assert len(memory.get_finished_spans()) == 1
    assert spans.dropped == 1


def test_a_collector_gets_them() -> None:
    """Over real OTLP: ids, names, kinds and attributes arrive as they were."""
    trace = answered(bill=Bill(0.003, 0.004, 0.0, 0.001, "measured"))
    with collecting() as collector:
        spans = Spans(OTLPSpanExporter(collector.url + "/v1/traces"), sampler=ON)
        spans.start()
        spans.add(trace)
        spans.close(10)
    by_name = {span.name: span for span in collector.spans}
    call, attempt = by_name["chat small"], by_name["chat small-q8"]
    assert attempt.parent_span_id == call.span_id
    said = {each.key: each.value for each in call.attributes}
    assert said["sluice.cost_usd"].double_value == 0.003
    assert said["gen_ai.operation.name"].string_value == "chat"
    assert {e.key: e.value.int_value for e in attempt.attributes}["gen_ai.usage.input_tokens"] == 100
    assert spans.dropped == 0


def test_text_that_is_no_text_does_not_cost_the_batch() -> None:
    """A name with half a character in it arrives, mended, and so do its neighbours."""
    with collecting() as collector:
        spans = Spans(OTLPSpanExporter(collector.url), sampler=ON)
        spans.add(hit(tenant="half \ud800", model="\udcff"))
        spans.add(hit())
        spans.start()
        spans.close(10)
    assert len(collector.spans) == 2


SCRIPT = """
import os
from gateway.telemetry.switch import open_spans
from tests.gateway.ledger.traces import answered
spans = open_spans(os.environ, 3)
spans.start()
spans.add(answered())
spans.close(10)
"""


@pytest.mark.parametrize("named", [{}, {"OTEL_SERVICE_NAME": "my-gateway"}], ids=["by default", "named"])
def test_the_standard_environment_is_enough(named: dict[str, str]) -> None:
    """Endpoint, headers, compression and the service's name come from OTEL_* variables."""
    with collecting() as collector:
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-key=abc",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            **named,
        }
        subprocess.run([sys.executable, "-c", SCRIPT], env=environ, check=True, timeout=60)
    assert len(collector.spans) == 2
    assert collector.resource()["service.name"] == named.get("OTEL_SERVICE_NAME", "sluice")
    assert collector.headers[0]["x-key"] == "abc"
    assert collector.headers[0]["content-encoding"] == "gzip"


def test_a_collector_that_swallows_everything_holds_nobody_up() -> None:
    """Where connections are taken and never answered nobody waits, the queue stays bounded, and losses are counted."""
    with socket.create_server(("127.0.0.1", 0)) as black_hole:
        url = f"http://127.0.0.1:{black_hole.getsockname()[1]}"
        spans = Spans(OTLPSpanExporter(url, timeout=30), sampler=ON, bound=100, batch=10)
        spans.start()
        for number in range(500):
            spans.add(hit(str(number)))
        began = monotonic()
        spans.close(0.05)
        assert monotonic() - began < 5
        assert 390 <= spans.dropped <= 500


def test_a_collector_that_is_gone_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A refused connection costs the spans, one line in the log and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    spans = Spans(OTLPSpanExporter(url, timeout=0.2), sampler=ON, batch=2)
    with caplog.at_level(logging.WARNING, "gateway"):
        spans.start()
        for number in range(6):
            spans.add(hit(str(number)))
        spans.close(10)
    assert spans.dropped == 6
    assert [record.getMessage() for record in caplog.records if record.name.startswith("gateway")] == [
        "traces: failing: the collector does not take them; calls go on"
    ]


def test_a_collector_that_refuses_is_counted() -> None:
    """A batch that is answered with an error is lost and counted."""
    with collecting(status=400) as collector:
        spans = Spans(OTLPSpanExporter(collector.url), sampler=ON)
        spans.add(answered())
        spans.start()
        spans.close(10)
    assert spans.dropped == 2


class Raising(SpanExporter):
    """An exporter that fails at its first batch in a way nobody foresaw."""

    def __init__(self) -> None:
        self.sent = 0
        self._failed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if not self._failed:
            self._failed = True
            raise RuntimeError("nobody foresaw this")
        self.sent += len(spans)
        return SpanExportResult.SUCCESS


def test_the_thread_outlives_a_fault_of_the_exporter() -> None:
    """After a batch that raised the next one goes out."""
    exporter = Raising()
    spans = Spans(exporter, sampler=ON, batch=1)
    for number in range(3):
        spans.add(hit(str(number)))
    spans.start()
    spans.close(10)
    assert exporter.sent == 2
    assert spans.dropped == 1


def test_senseless_settings_are_ignored() -> None:
    """A queue of no number is the standard's default, as the specification wants."""
    environ = {"OTEL_BSP_MAX_QUEUE_SIZE": "many", "OTEL_BSP_SCHEDULE_DELAY": "-1"}
    spans = from_environment(environ, 0)
    spans.add(hit())
    assert spans.dropped == 0
