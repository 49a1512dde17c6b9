"""Tests of gateway.telemetry.switch: when calls are traced, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.telemetry.switch import INSTALL, CannotTrace, check, is_installed, is_on, open_spans

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_SERVICE_NAME": "sluice"}, False),
    ],
)
def test_the_environment_switches_it_on(environ: dict[str, str], on: bool) -> None:  # noqa: FBT001
    """An endpoint or an exporter does; the standard ways to say no are heard."""
    assert is_on(environ) is on


def test_a_missing_package_is_refused_with_its_install_line() -> None:
    """Who asks for traces without the extra is told how to install it, before anything is served."""
    with pytest.raises(CannotTrace) as refused:
        check(ENDPOINT, lambda _module: False)
    assert INSTALL in str(refused.value)


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
    ],
)
def test_what_is_not_served_is_refused(environ: dict[str, str]) -> None:
    """Another exporter or protocol is named in the refusal, not silently replaced."""
    with pytest.raises(CannotTrace, match=next(iter(set(environ.values()) - set(ENDPOINT.values())))):
        check(environ)


def test_off_means_nothing() -> None:
    """Without the environment nothing is checked, opened or imported."""
    check({}, lambda _module: False)
    assert open_spans({}, 0) is None
    code = "import gateway.telemetry.switch, gateway.telemetry.context, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "opentelemetry" not in run.stdout


def test_a_module_in_a_package_that_is_not_there_is_not_there() -> None:
    """Looking for a module does not raise where its package is missing."""
    assert not is_installed("no_such_package.at.all")
    assert is_installed("json")
