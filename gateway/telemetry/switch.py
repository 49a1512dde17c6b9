"""Whether calls are traced: the standard OTEL_* environment, and what it needs to be installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.telemetry.spans import Spans

INSTALL = "pip install 'sluice-gateway[otel]'"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXPORTER = "OTEL_TRACES_EXPORTER"
SPOKEN = "http/protobuf"
PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")


class CannotTrace(Exception):
    """What the environment asks for and cannot be had, in one sentence that says what to do."""


def is_installed(module: str) -> bool:
    """Say whether a module is there, without running it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # one of the packages it lies in
        return False


def is_on(environ: Mapping[str, str]) -> bool:
    """Say whether the environment asks for traces."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environ.get(EXPORTER, "").strip()
    return exporter != "none" and (bool(exporter) or any(environ.get(name, "").strip() for name in ENDPOINTS))


def check(environ: Mapping[str, str], installed: Callable[[str], bool] = is_installed) -> None:
    """Raise CannotTrace if traces are asked for and cannot be made."""
    if not is_on(environ):
        return
    exporter = environ.get(EXPORTER, "").strip() or "otlp"
    if exporter != "otlp":
        raise CannotTrace(f"{EXPORTER}={exporter} is not served: traces are sent by otlp, or not at all (none).")
    protocol = next((environ[name].strip() for name in PROTOCOLS if environ.get(name, "").strip()), SPOKEN)
    if protocol != SPOKEN:
        raise CannotTrace(f"Traces are sent by {SPOKEN}, not by {protocol}: see {PROTOCOLS[-1]}.")
    if not all(installed(module) for module in PACKAGES):
        raise CannotTrace(f"Traces are asked for ({ENDPOINTS[-1]}), and OpenTelemetry is not installed: {INSTALL}")


def open_spans(environ: Mapping[str, str], worker: int) -> Spans | None:
    """What makes spans of calls, as the environment says; None where it asks for none. Raises CannotTrace."""
    check(environ)
    if not is_on(environ):
        return None
    from gateway.telemetry.spans import from_environment  # noqa: PLC0415 - an extra, and slow to import

    return from_environment(environ, worker)
