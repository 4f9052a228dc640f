"""What the process counts about itself, as plain numbers; /metrics gives them their Prometheus names.

Counting costs a dictionary update a request. The library that renders is imported by the first scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Any

BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Counts:
    """Requests by route and status, their seconds, decisions and messages by outcome, and what is in work now."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.outcomes_of: Counter[tuple[str, str]] = Counter()
        """By tenant and outcome."""
        self.shed: Counter[str] = Counter()
        self.webhooks: Counter[str] = Counter()
        """Attempts to deliver, by how they ended."""
        self.open = 0
        self.open_of: Counter[str] = Counter()
        self.streams: Counter[str] = Counter()
        self._seconds: dict[str, list[float]] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request that was answered."""
        self.requests[method, route, status] += 1
        buckets = self._seconds.get(route)
        if buckets is None:
            buckets = self._seconds[route] = [0.0] * (len(BOUNDS_SECONDS) + 2)
        buckets[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        buckets[-1] += seconds

    def seconds(self) -> dict[str, tuple[list[tuple[str, float]], float]]:
        """By route: cumulative buckets (upper bound as text, count) and the sum."""
        told = {}
        for route, buckets in self._seconds.items():
            total, rows = 0.0, []
            for bound, count in zip((*map(str, BOUNDS_SECONDS), "+Inf"), buckets, strict=False):
                total += count
                rows.append((bound, total))
            told[route] = (rows, buckets[-1])
        return told


def render(counts: Counts, gauges: dict[str, tuple[str, float]], worker: int = 0) -> tuple[bytes, str]:
    """The text of /metrics, and its content type.

    Args:
        gauges: name -> (help, value), read at the scrape.
        worker: the label of everything, where several processes stand behind one address: a scrape meets one of them.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    class Collector:
        def collect(self) -> Any:
            named = {"worker": str(worker)} if worker else {}
            for family in self.families():
                family.samples = [sample._replace(labels=sample.labels | named) for sample in family.samples]
                yield family

        def families(self) -> Any:
            requests = CounterMetricFamily(
                "kiff_http_requests", "Requests answered.", labels=["method", "route", "status"]
            )
            for (method, route, status), count in sorted(counts.requests.items()):
                requests.add_metric([method, route, str(status)], count)
            yield requests
            seconds = HistogramMetricFamily(
                "kiff_http_request_duration_seconds", "Seconds to answer.", labels=["route"]
            )
            for route, (buckets, total) in sorted(counts.seconds().items()):
                seconds.add_metric([route], buckets, total)
            yield seconds
            decisions = CounterMetricFamily("kiff_decisions", "Decisions of the gate.", labels=["outcome"])
            for outcome, count in sorted(counts.outcomes.items()):
                decisions.add_metric([outcome], count)
            yield decisions
            shed = CounterMetricFamily("kiff_requests_shed", "Requests turned away before deciding.", labels=["code"])
            for code, count in sorted(counts.shed.items()):
                shed.add_metric([code], count)
            yield shed
            told = CounterMetricFamily("kiff_webhook_attempts", "Attempts to deliver a message.", labels=["ended"])
            for ended, count in sorted(counts.webhooks.items()):
                told.add_metric([ended], count)
            yield told
            yield GaugeMetricFamily("kiff_http_requests_open", "Requests in work now.", value=counts.open)
            for name, (help, value) in gauges.items():
                yield GaugeMetricFamily(name, help, value=value)

    registry = CollectorRegistry()
    registry.register(Collector())
    return generate_latest(registry), CONTENT_TYPE_LATEST
