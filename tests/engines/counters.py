"""What vLLM counts about itself, read from its /metrics page."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

PATIENCE_SECONDS = 30.0  # a hung engine fails the test; a busy machine does not


class Counters:
    """The counters and gauges of one vLLM server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def value(self, name: str) -> float:
        """The sum of a metric over its labels, 0 if it is not there."""
        page = httpx.get(f"{self._url}/metrics", timeout=10.0).text
        families = text_string_to_metric_families(page)
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    def running(self) -> float:
        """Requests that the engine works on."""
        return self.value("vllm:num_requests_running")

    def generated(self) -> float:
        """Tokens generated so far."""
        return self.value("vllm:generation_tokens_total")

    def prefix_hits(self) -> float:
        """Prompt tokens that were found in the prefix cache so far."""
        return self.value("vllm:prefix_cache_hits_total")

    def await_until(self, holds: Callable[[Counters], bool], what: str) -> None:
        """Wait until the counters say so. Raises AssertionError when they do not in time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds(self):
            assert time.monotonic() < deadline, f"still not so: {what}"
            time.sleep(0.02)
