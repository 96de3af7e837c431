"""Traces for OpenTelemetry: one span for each accepted request, one for its group's append, one for its batch.

An append and a batch serve many requests, so they are traces of their own with a link to each; the trace context of a
request travels with its packed callback. Off unless OTEL_SERVICE_NAME is set. What makes no traces has none of this in
its way: `ingress/traced.py` and `workers/traced.py` take the place of what they trace.

Where spans go, and how many, is up to OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from shared.config import ConfigError

if TYPE_CHECKING:
    from shared.spans import Traces


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether this environment asks for traces."""
    return bool(environ.get("OTEL_SERVICE_NAME")) and environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


def connect(environ: Mapping[str, str]) -> "Traces | None":
    """The traces of this process; None when they are off. They start a thread: after a fork, never before one.

    Raises ConfigError where OpenTelemetry is not installed.
    """
    if not is_wanted(environ):
        return None
    check(environ)
    from shared.spans import Traces  # noqa: PLC0415 - OpenTelemetry is loaded only where it is wanted

    return Traces.exported(environ)


def check(environ: Mapping[str, str]) -> None:
    """Raises ConfigError where traces are wanted and OpenTelemetry is not installed."""
    try:
        if is_wanted(environ):
            import shared.spans  # noqa: F401, PLC0415
    except ImportError:
        raise ConfigError(
            ["OTEL_SERVICE_NAME: OpenTelemetry is not installed; `pip install callbox[otel]`, or unset the variable"]
        ) from None
