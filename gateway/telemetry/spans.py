"""Spans of finished calls, and the thread that sends them. The only file that imports OpenTelemetry.

Laws of this module:

* `begin` runs on the event loop and chooses ids; `add` runs in one other thread and makes spans; a third thread sends.
* Nothing here waits for a collector, and nothing fails. What finds the queue full, or is refused by the collector, is
  dropped and counted.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from gateway.ledger.health import Health
from gateway.telemetry import context
from gateway.telemetry.attributes import name_of, of_attempt, of_call
from gateway.telemetry.context import SpanIds
from gateway.telemetry.places import Place, places
from gateway.trace import Attempt, Trace
from policies.model import Policy

SCOPE = "sluice"
BOUND = 2048  # spans that wait; the SDK's own default, as are the next two
BATCH = 512
INTERVAL = 5.0  # seconds
UNKNOWN_SERVICE = "unknown_service"


class Spans:
    """Makes spans of one worker's calls."""

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        sampler: Sampler | None = None,
        resource: Resource | None = None,
        bound: int = BOUND,
        batch: int = BATCH,
        interval: float = INTERVAL,
    ) -> None:
        """Without a `sampler` or `resource` the environment's hold. `interval`: seconds between two sendings."""
        self._ids = _Ids()
        self._outbox = _Outbox(exporter, bound, batch, interval)
        provider = TracerProvider(sampler, resource, shutdown_on_exit=False, id_generator=self._ids)
        provider.add_span_processor(self._outbox)
        self._sampler = provider.sampler
        self._tracer = provider.get_tracer(SCOPE)
        self._places: Mapping[str, Place] = {}
        self._failed = 0  # spans that could not be made; only `add` writes it
        self._health = Health("traces")

    @property
    def dropped(self) -> int:
        """Spans that no collector got, since start."""
        return self._failed + self._outbox.dropped

    def know(self, policy: Policy) -> None:
        """Learn who stands behind the upstreams of the policy in force."""
        self._places = places(policy.upstreams)

    def start(self) -> None:
        """Start to send. Once."""
        self._outbox.start()

    def close(self, deadline: float = 2.0) -> None:
        """Send what waits, within `deadline` seconds; what then remains is lost."""
        self._outbox.close(deadline)

    def begin(self, headers: Mapping[bytes, bytes]) -> SpanIds:
        """The ids of a call that begins, under its caller's span where a header names one."""
        parent = context.read(headers.get(context.HEADER, b""))
        trace = context.new_trace() if parent is None else parent.trace
        ids = SpanIds(trace, context.new_span(), parent, is_sampled=True)
        try:
            decision = self._sampler.should_sample(_above(ids), trace, "call", SpanKind.SERVER).decision
        except Exception:  # noqa: BLE001 - a sampler may be an operator's own; a call must not fail by it
            return SpanIds(trace, ids.span, parent, is_sampled=False)
        return SpanIds(trace, ids.span, parent, decision is Decision.RECORD_AND_SAMPLE)

    def add(self, trace: Trace) -> None:
        """Make the spans of a call that has ended. Called by one thread; it neither waits nor fails."""
        ids = trace.span or self.begin({})
        if not ids.is_sampled:
            return
        try:
            self._make(trace, ids)
        except Exception as error:  # noqa: BLE001 - a fault of ours or of the SDK costs a span and nothing else
            self._failed += 1
            self._health.failing(type(error).__name__, error)

    def _make(self, trace: Trace, ids: SpanIds) -> None:
        ended = trace.ended if trace.ended is not None else trace.started
        call = self._span(
            ids.span, ids, _above(ids), name_of(trace, trace.model), SpanKind.SERVER, _unix(trace, trace.started)
        )
        call.set_attributes(of_call(trace))
        if trace.status >= 500 or trace.broke:
            call.set_status(Status(StatusCode.ERROR))
        below = set_span_in_context(call, Context())
        for number, attempt in enumerate(trace.attempts, start=1):
            self._attempt(trace, attempt, ids, number, below)
        call.end(_unix(trace, ended))

    def _attempt(self, trace: Trace, attempt: Attempt, ids: SpanIds, number: int, below: Context) -> None:
        name, started = name_of(trace, attempt.model), _unix(trace, attempt.started)
        span = self._span(ids.attempt(number), ids, below, name, SpanKind.CLIENT, started)
        span.set_attributes(of_attempt(trace, attempt, self._places.get(attempt.upstream)))
        if attempt.fault:
            span.set_status(Status(StatusCode.ERROR))
        ends = (attempt.ended, trace.ended, attempt.first_byte, attempt.started)
        span.end(_unix(trace, next(end for end in ends if end is not None)))

    def _span(self, span: int, ids: SpanIds, above: Context, name: str, kind: SpanKind, started: int) -> Span:
        """A span that has begun, under the id that was chosen for it."""
        self._ids.trace, self._ids.span = ids.trace, span
        return self._tracer.start_span(name, above, kind, start_time=started)


class _Ids(IdGenerator):
    """Hands out the ids that were chosen when the call began."""

    trace = span = 1

    def generate_span_id(self) -> int:
        return self.span

    def generate_trace_id(self) -> int:
        return self.trace


class _Outbox(SpanProcessor):
    """Spans on their way out: a bounded queue and the thread that empties it."""

    def __init__(self, exporter: SpanExporter, bound: int, batch: int, interval: float) -> None:
        self.dropped = 0
        self._exporter = exporter
        self._waiting: deque[ReadableSpan] = deque()
        self._bound = bound
        self._batch = min(batch, bound)
        self._interval = interval
        self._health = Health("traces")
        self._wake = threading.Event()
        self._closing = False
        self._given_up = False
        self._full = 0  # spans that found no room; only `on_end` writes it
        self._lost = 0  # that the collector did not take; only the thread writes it
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span, if there is room."""
        if len(self._waiting) >= self._bound:
            self._full += 1
            self.dropped = self._full + self._lost
            return
        self._waiting.append(span)
        if len(self._waiting) >= self._batch:
            self._wake.set()

    def start(self) -> None:
        self._thread.start()

    def close(self, deadline: float) -> None:
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(deadline)
            self._given_up = True
            self._exporter.shutdown()  # wakes it where it waits to try again
        self._count_lost(len(self._waiting))

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait(self._interval)
            self._wake.clear()
            closing = self._closing  # read before the queue is emptied: what came before the end still goes out
            while self._waiting and not self._given_up:
                self._send([self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))])

    def _send(self, spans: list[ReadableSpan]) -> None:
        try:
            sent = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001 - an exporter may raise anything; the next batch may go through
            sent = False
        if sent:
            self._health.well()
            return
        self._count_lost(len(spans))
        if not self._given_up:
            self._health.failing("the collector does not take them")

    def _count_lost(self, spans: int) -> None:
        self._lost += spans
        self.dropped = self._full + self._lost


def from_environment(environ: Mapping[str, str], worker: int) -> Spans:
    """Spans sent by OTLP over HTTP as the OTEL_* variables say; the SDK reads most of them itself."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it tells of every batch; we of every change
    bound = max(1, round(_number(environ, "OTEL_BSP_MAX_QUEUE_SIZE", BOUND)))
    batch = max(1, round(_number(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH)))
    interval = _number(environ, "OTEL_BSP_SCHEDULE_DELAY", INTERVAL * 1000) / 1000
    return Spans(OTLPSpanExporter(), resource=_resource(worker), bound=bound, batch=batch, interval=interval)


def _resource(worker: int) -> Resource:
    resource = Resource.create({"sluice.worker": worker})
    if str(resource.attributes.get(SERVICE_NAME, UNKNOWN_SERVICE)).startswith(UNKNOWN_SERVICE):
        resource = resource.merge(Resource({SERVICE_NAME: "sluice"}))
    return resource


def _number(environ: Mapping[str, str], name: str, otherwise: float) -> float:
    """A setting of the environment; one that is no positive number is ignored, as the specification wants."""
    try:
        found = float(environ.get(name, ""))
    except ValueError:
        return otherwise
    return found if 0 < found < 1e9 else otherwise


def _above(ids: SpanIds) -> Context:
    """The context that a call's span begins in: its caller's span, or none."""
    parent = ids.parent
    if parent is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
    remote = SpanContext(parent.trace, parent.span, is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(remote), Context())


def _unix(trace: Trace, moment: float) -> int:
    """Unix time in nanoseconds of a moment of the call; a clock that jumped meanwhile changes no duration."""
    return int((trace.at + moment - trace.started) * 1e9)
