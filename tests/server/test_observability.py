"""One trace from the client's header to the record, metrics that Prometheus reads, spans when they are asked for."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from line import Line, head
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.parser import text_string_to_metric_families
from served import PATIENCE_SECONDS, TENANT, Served
from up import Serve, Up

from kiff.server.routes import ROUTES
from kiff.server.telemetry import Telemetry

pytestmark = pytest.mark.slow

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"

# Traces


def test_a_clients_trace_is_the_trace_of_the_answer_and_of_the_records(shop: Served) -> None:
    shop.paid("traced")
    for ask in (shop.decide, shop.execute):
        told = ask("traced", "REFUND_ORDER", headers={"traceparent": PARENT})
        assert told.headers["trace-id"] == told.body["trace_id"] == f"trace_{TRACE}"
    event = {"type": "ORDER_PLACED", "entity_id": "traced-2", "entity_type": "order"}
    told = shop.post("/v1/events", event, "owner", headers={"traceparent": PARENT})
    assert told.body["event"]["trace_id"] == f"trace_{TRACE}"
    for order in ("traced", "traced-2"):
        records = shop.get(f"/v1/entities/order:{order}/timeline", "owner").body["records"]
        assert records[-1]["trace_id"] == f"trace_{TRACE}"


def test_without_one_the_answer_and_the_records_still_have_one_trace(shop: Served) -> None:
    shop.paid("untraced")
    told = shop.decide("untraced")
    assert told.headers["trace-id"] == told.body["trace_id"]
    records = shop.get("/v1/entities/order:untraced/timeline", "owner").body["records"]
    assert records[-1]["trace_id"] == told.body["trace_id"]
    assert re.fullmatch(r"trace_[0-9a-f]{32}", told.body["trace_id"])


def test_an_error_has_the_clients_trace_too(shop: Served) -> None:
    for told in (
        shop.get("/v1/nothing", headers={"traceparent": PARENT}),
        shop.get("/v1/me", None, headers={"traceparent": PARENT}),
        shop.post("/v1/proposals/decide", b"{", headers={"traceparent": PARENT}),
    ):
        assert told.headers["trace-id"] == told.body["trace_id"] == f"trace_{TRACE}"


MALFORMED = {
    "another version": f"ff-{TRACE}-{SPAN}-01",
    "no version": f"{TRACE}-{SPAN}-01",
    "too much for its version": f"{PARENT}-more",
    "no trace": f"00-{'0' * 32}-{SPAN}-01",
    "no span": f"00-{TRACE}-{'0' * 16}-01",
    "capitals": PARENT.upper(),
    "a short trace": f"00-{TRACE[1:]}-{SPAN}-01",
    "a long trace": f"00-{TRACE}0-{SPAN}-01",
    "a short span": f"00-{TRACE}-{SPAN[1:]}-01",
    "no flags": f"00-{TRACE}-{SPAN}",
    "long flags": f"00-{TRACE}-{SPAN}-001",
    "other letters": f"00-{'g' * 32}-{SPAN}-01",
    "spaces": f"00 {TRACE} {SPAN} 01",
    "a quote": f'00-{TRACE[:-1]}"-{SPAN}-01',
}


@pytest.mark.parametrize("parent", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_traceparent_is_ignored(shop: Served, parent: str) -> None:
    told = shop.get("/v1/me", headers={"traceparent": parent})
    assert told.status == 200
    assert re.fullmatch(r"trace_[0-9a-f]{32}", told.headers["trace-id"])
    assert told.headers["trace-id"] != f"trace_{TRACE}"


def test_two_traceparents_are_none(shop: Served) -> None:
    with Line(shop) as line:
        told = line.send(head(shop, "GET", "/v1/me", *[f"traceparent: {PARENT}"] * 2)).answer()
    assert told.headers["trace-id"] != f"trace_{TRACE}"


def test_a_traceparent_of_a_later_version_is_read_as_far_as_it_is_known(shop: Served) -> None:
    told = shop.get("/v1/me", headers={"traceparent": f"cc-{TRACE}-{SPAN}-01-what-comes-later"})
    assert told.headers["trace-id"] == f"trace_{TRACE}"


# Metrics


def families(shop: Served) -> dict[str, Any]:
    told = shop.get("/metrics", None)
    assert told.headers["content-type"].startswith("text/plain")
    return {family.name: family for family in text_string_to_metric_families(told.raw.decode())}


def series(shop: Served) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    found = families(shop).values()
    return {(sample.name, tuple(sorted(sample.labels.items()))) for each in found for sample in each.samples}


def test_metrics_are_named_by_convention(shop: Served) -> None:
    shop.decide("metrics")
    found = families(shop)
    for name, family in found.items():
        assert re.fullmatch(r"kiff_[a-z][a-z0-9_]*[a-z]", name), name
        assert family.documentation.endswith(".")
        assert family.type in ("counter", "gauge", "histogram")
        assert not re.search(r"_(ms|millis|minutes|kb|count|total)$", name), name
        if family.type == "counter":
            assert {sample.name for sample in family.samples} <= {f"{name}_total"}
        if family.type == "histogram":
            assert name.endswith("_seconds")
    assert {"kiff_http_requests", "kiff_http_request_duration_seconds", "kiff_decisions", "kiff_requests_shed"} <= set(
        found
    )


def test_what_is_counted_is_what_happened(own_shop: Served) -> None:
    own_shop.paid("ord_1")
    assert own_shop.decide("ord_1").body["outcome"] == "allowed"
    assert own_shop.decide("ord_2").body["outcome"] == "blocked"
    assert own_shop.post("/v1/proposals/decide", b"{").status == 400
    found = families(own_shop)
    decisions = {sample.labels["outcome"]: sample.value for sample in found["kiff_decisions"].samples}
    assert decisions == {"allowed": 1, "blocked": 1}
    asked = {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for sample in found["kiff_http_requests"].samples
    }
    decide = ("POST", "/v1/proposals/decide")
    assert (asked[(*decide, "200")], asked[(*decide, "400")], asked["POST", "/v1/events", "201"]) == (2, 1, 2)
    durations = found["kiff_http_request_duration_seconds"].samples
    [count] = [s.value for s in durations if s.name.endswith("_count") and s.labels["route"] == decide[1]]
    buckets = [s.value for s in durations if s.name.endswith("_bucket") and s.labels["route"] == decide[1]]
    assert (count, buckets[-1]) == (3, 3)
    assert buckets == sorted(buckets)


def test_what_nobody_serves_makes_no_series(shop: Served) -> None:
    shop.get("/metrics", None)
    before = series(shop)
    for number in range(30):
        shop.get(f"/v1/unknown-{number}")
        shop.ask("DELETE", f"/v1/me?{number}")
        shop.get(f"/v1/entities/order:number-{number}/state")
    more = series(shop) - before
    assert {dict(labels).get("route") for _, labels in more} == {"/v1/entities/{id}/state"}
    assert not any("number-" in str(each) or "unknown-" in str(each) for each in more)


def test_labels_are_of_a_few_values(shop: Served) -> None:
    known = {
        "route": {route.path for route in ROUTES},
        "method": {"GET", "POST", "PUT", "DELETE", "PATCH"},
        "outcome": {"allowed", "approval_required", "blocked", "invalid", "limit_exceeded"},
        "code": {"overloaded", "rate_limited"},
    }
    shop.decide("labels")
    for name, labels in series(shop):
        for label, value in labels:
            if label == "status":
                assert re.fullmatch("[1-5][0-9]{2}", value)
            elif label == "le":
                assert name.endswith("_bucket")
            else:
                assert value in known[label]


# Spans


@pytest.fixture
def spans(shop: Served) -> Iterator[InMemorySpanExporter]:
    """The spans of the requests of one test."""
    kept = InMemorySpanExporter()
    shop.tower.telemetry = Telemetry(SimpleSpanProcessor(kept))
    yield kept
    shop.tower.telemetry = None


def only(spans: InMemorySpanExporter) -> ReadableSpan:
    [span] = spans.get_finished_spans()
    spans.clear()
    return span


def test_a_request_is_one_span_with_what_it_came_to(shop: Served, spans: InMemorySpanExporter) -> None:
    shop.decide("span", headers={"traceparent": PARENT, "tracestate": "vendor=1"})
    span = only(spans)
    assert (span.name, span.kind) == ("POST /v1/proposals/decide", SpanKind.SERVER)
    assert span.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/proposals/decide",
        "http.response.status_code": 200,
        "kiff.tenant": TENANT,
        "kiff.outcome": "blocked",
    }
    assert span.resource.attributes["service.name"] == "kiff"
    assert span.context is not None and span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    assert span.context.trace_state.get("vendor") == "1"
    assert span.start_time is not None and span.end_time is not None
    assert span.start_time < span.end_time


def test_without_a_parent_the_span_begins_the_trace_of_the_answer(shop: Served, spans: InMemorySpanExporter) -> None:
    for headers in ({}, {"traceparent": MALFORMED["no span"]}):
        told = shop.get("/v1/me", headers=headers)
        span = only(spans)
        assert span.context is not None
        assert (span.parent, f"trace_{span.context.trace_id:032x}") == (None, told.headers["trace-id"])


def test_a_refusal_is_a_span_and_no_error_of_ours(shop: Served, spans: InMemorySpanExporter) -> None:
    for key, status in ((None, 401), ("agent", 400)):
        assert shop.post("/v1/proposals/decide", b"{", key).status == status
        span = only(spans)
        assert span.attributes is not None
        assert span.attributes["http.response.status_code"] == status
        assert "error.type" not in span.attributes
        assert span.status.status_code == StatusCode.UNSET


def test_a_failure_of_ours_is_an_error(own_shop: Served) -> None:
    kept = InMemorySpanExporter()
    own_shop.tower.telemetry = Telemetry(SimpleSpanProcessor(kept))

    def row(*_: object) -> None:
        raise RuntimeError("hunter2")

    own_shop.tower.store.row = row
    assert own_shop.get("/v1/me").status == 500
    span = only(kept)
    assert (span.status.status_code, span.attributes and span.attributes["error.type"]) == (StatusCode.ERROR, "500")
    assert "hunter2" not in span.to_json()


def test_a_span_holds_nothing_that_was_sent(shop: Served, spans: InMemorySpanExporter) -> None:
    shop.decide("private-order", parameters={"amount": 1.0, "reason": "private reason"})
    shop.get("/v1/entities/private-order/state?at=7", headers={"User-Agent": "private agent"})
    shop.get("/v1/me", "kiff_live_private_key")
    told = "".join(span.to_json() for span in spans.get_finished_spans())
    assert told
    assert "private" not in told and "at=7" not in told


class Collector(ThreadingHTTPServer):
    """An OpenTelemetry collector on this machine. `holds`: takes requests in and answers none."""

    def __init__(self, *, holds: bool = False) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.let_go = threading.Event()
        if not holds:
            self.let_go.set()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        self.server.taken.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
        self.server.let_go.wait(PATIENCE_SECONDS)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def collecting(*, holds: bool = False) -> Iterator[Collector]:
    with Collector(holds=holds) as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.let_go.set()
            collector.shutdown()
            thread.join()


@pytest.mark.slow
def test_serve_sends_its_spans_to_where_the_environment_says(tmp_path: Path) -> None:
    with collecting() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "a-tower"}
        with Serve(tmp_path, "--otel", **environment) as serve:
            assert serve.get("/v1/me", None, headers={"traceparent": PARENT}).status == 401
            assert serve.close() == 0
    [(path, body), *_] = collector.taken
    sent = ExportTraceServiceRequest.FromString(body)
    [resource] = sent.resource_spans
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    [span] = [span for scope in resource.scope_spans for span in scope.spans]
    assert (path, named["service.name"]) == ("/v1/traces", "a-tower")
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == ("GET /v1/me", TRACE, SPAN)


@pytest.mark.slow
def test_a_collector_that_does_not_answer_holds_nothing_up(tmp_path: Path) -> None:
    with collecting(holds=True) as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "1"}
        with Serve(tmp_path, "--otel", **environment) as serve:
            assert serve.get("/healthz", None).status == 200
            while not collector.taken:
                assert serve.get("/healthz", None).status == 200
            assert serve.get("/healthz", None).status == 200
            assert serve.close() == 0
    assert not [line for line in serve.log.splitlines() if not line.startswith(b"{") and b"serving" not in line]


def test_who_does_not_ask_for_spans_does_not_pay_for_them(tmp_path: Path) -> None:
    (tmp_path / "actions.py").write_text(
        "import sys\n"
        "def tell(operation):\n"
        '    return {"status": "succeeded", "output": sorted(sys.modules)}\n'
        'EXECUTORS = {"refund.issue_refund": tell, "orders.mark_paid": tell}\n'
    )
    with Up(tmp_path, "--executors", "actions.py") as up:
        up.paid("ord_1")
        modules = up.execute("ord_1").body["result"]["output"]
    assert "kiff.server.app" in modules
    assert not [
        name for name in modules if name.startswith(("opentelemetry", "google.protobuf", "kiff.server.telemetry"))
    ]
