"""Traces and logs of `sluice serve` as people run it, with a real collector, and with one that swallows everything."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from gateway.telemetry.context import read
from tests.fakes.openai import WORDS, FakeOpenAI
from tests.gateway.telemetry.collector import collecting
from tests.running import Gateway, gateway

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PROMPT = "a-prompt-that-nobody-writes-down"
POLICY = """
upstreams: {{up: {{url: "{url}"}}}}
models: {{m: {{targets: [{{upstream: up}}]}}}}
"""


async def call(running: Gateway) -> int:
    """One call's status."""
    return (await asyncio.to_thread(running.ask, "m", PROMPT)).status_code


def write_policy(folder: Path, url: str) -> Path:
    """A policy with one upstream."""
    path = folder / "policy.yaml"
    path.write_text(POLICY.format(url=url))
    return path


async def test_a_call_is_traced_from_its_caller_to_its_upstream(tmp_path: Path) -> None:
    """The collector gets two spans in the caller's trace, the upstream the id of its own, and the log one line."""
    async with FakeOpenAI() as up:
        with collecting() as collector:
            env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
            options = ("--log-format", "json", "--log-calls")
            with gateway(tmp_path, write_policy(tmp_path, up.url), *options, env=env) as running:
                body = {"model": "m", "messages": [{"role": "user", "content": PROMPT}]}
                answer = await asyncio.to_thread(running.post, "/chat/completions", body, traceparent=CALLER)
                token = (running.state / "admin.token").read_text().strip()
            log = running.log.read_text()
        (asked,) = up.requests
    assert answer.status_code == 200
    spans = {span.kind: span for span in collector.spans}
    server, client = spans[Span.SPAN_KIND_SERVER], spans[Span.SPAN_KIND_CLIENT]
    caller, told = read(CALLER.encode()), read(asked.headers["traceparent"].encode())
    assert caller is not None
    assert told is not None
    assert int.from_bytes(server.parent_span_id) == caller.span
    assert client.parent_span_id == server.span_id
    assert (int.from_bytes(client.trace_id), int.from_bytes(client.span_id)) == (caller.trace, told.span)
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line["message"] == "call"]
    assert (line["request_id"], line["status"]) == (answer.headers["x-request-id"], 200)
    said = log.partition("Try it:")[2] + repr(collector.requests)
    assert not [word for word in (PROMPT, WORDS[0].strip() + WORDS[1], token) if word in said]


async def test_a_collector_that_swallows_everything_slows_no_call(tmp_path: Path) -> None:
    """Calls are answered while every batch hangs, and the gateway ends in time."""
    with socket.create_server(("127.0.0.1", 0)) as black_hole:
        url = f"http://127.0.0.1:{black_hole.getsockname()[1]}"
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "10", "OTEL_BSP_MAX_QUEUE_SIZE": "4"}
        async with FakeOpenAI() as up:
            with gateway(tmp_path, write_policy(tmp_path, up.url), env=env) as running:
                began = monotonic()
                assert [await call(running) for _ in range(20)] == [200] * 20
                assert monotonic() - began < 8  # one batch alone hangs for ten
                ended = monotonic()
            assert monotonic() - ended < 8


async def test_without_the_environment_nothing_is_traced(tmp_path: Path) -> None:
    """No header goes to the upstream, and the page tells of no spans."""
    async with FakeOpenAI() as up:
        with gateway(tmp_path, write_policy(tmp_path, up.url)) as running:
            assert await call(running) == 200
            page: Any = await asyncio.to_thread(running.admin, "/metrics")
        assert "traceparent" not in up.requests[0].headers
    assert "sluice_spans_dropped_total{" not in page.text


def test_what_cannot_be_traced_is_refused_at_the_start(tmp_path: Path) -> None:
    """A protocol that is not spoken ends `serve` with a sentence, before anything listens."""
    env = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    command = [sys.executable, "-m", "gateway.cli", "serve", "--state", str(tmp_path / "state")]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert "http/protobuf, not by grpc" in run.stderr
