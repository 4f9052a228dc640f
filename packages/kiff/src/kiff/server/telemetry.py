"""Spans with OpenTelemetry: one a request, made once it is answered. Imported only when the operator asks for it.

Where they go, how many, and under which name is what the standard OTEL_* variables say, and the SDK reads them. A span
carries what the request log carries: neither bodies, nor queries, nor ids of a path.
"""

from __future__ import annotations

import threading
import time

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from kiff.server.answered import Answered

FLUSH_SECONDS = 5.0
"""How long the end of a server waits for a collector."""


class Telemetry:
    """Makes the spans.

    Args:
        processor: what takes the ended spans; sends them in batches over OTLP/HTTP when not given.
    """

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        self._ids = _Traces()
        self._provider = TracerProvider(resource=_resource(), id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("kiff.server")
        self._propagator = TraceContextTextMapPropagator()

    def request(self, said: Answered) -> None:
        """The span of one request, which was answered just now."""
        told: dict[str, str | int] = {
            "http.request.method": said.method,
            "http.route": said.route,
            "http.response.status_code": said.status,
        }
        if said.tenant is not None:
            told["kiff.tenant"] = said.tenant
        if said.outcome is not None:
            told["kiff.outcome"] = said.outcome
        if said.status >= 500:
            told["error.type"] = str(said.status)
        self._ids.trace = int(said.trace.removeprefix("trace_"), 16)
        ended = time.time_ns()
        span = self._tracer.start_span(
            f"{said.method} {said.route}",
            context=self._propagator.extract(said.headers, Context()),
            kind=SpanKind.SERVER,
            attributes=told,
            start_time=ended - int(said.seconds * 1e9),
        )
        if said.status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end(ended)

    def close(self) -> None:
        """Sends what is left, unless the collector takes too long."""
        last = threading.Thread(target=self._provider.shutdown, name="kiff-spans", daemon=True)
        last.start()
        last.join(FLUSH_SECONDS)


def _resource() -> Resource:
    """Whose spans these are: `kiff`, unless the environment says otherwise."""
    said = Resource.create()
    named = str(said.attributes[SERVICE_NAME])
    return said.merge(Resource({SERVICE_NAME: "kiff"})) if named.startswith("unknown_service") else said


class _Traces(RandomIdGenerator):
    """A span without a parent begins the very trace that its request was answered with.

    Attributes:
        trace: of the request whose span is started next; requests are told one after the other, by the event loop.
    """

    trace = 0

    def generate_trace_id(self) -> int:
        return self.trace
