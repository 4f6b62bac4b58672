"""What Ray's Prometheus endpoint tells besides Ray's own: of streams, and of the engines."""

import sys
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from verbatim_ray.errors import Broken


class FrontMetrics:
    """Counters of one front; Ray adds which replica of which deployment it is."""

    def __init__(self) -> None:
        self._events = Counter(
            "verbatim_ray_events_total",
            "Requests, takeovers, hedges, hits and misses of the cache, and failures, by kind.",
            tag_keys=("kind",),
        )
        self._gap = Histogram(
            "verbatim_ray_takeover_seconds",
            "From the last token before another engine went on to the first token after.",
            boundaries=[0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30],
        )
        self.counts: dict[str, int] = {}
        """The same counters, as `/health` of the front tells them."""

    def count(self, kind: str) -> None:
        """One more of a kind."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self._events.inc(tags={"kind": kind})

    def failed(self, error: Broken) -> None:
        """An engine that did not finish what it was asked."""
        self.count("failures")
        print(f"verbatim_ray: an engine failed: {error}", file=sys.stderr, flush=True)

    def takeover(self, seconds: float) -> None:
        """A stream that went on after so many seconds."""
        self._gap.observe(seconds)


class EngineGauges:
    """What the engine of one replica says in `/health`."""

    NAMES = ("running", "waiting", "kv_usage", "cached_tokens", "preemptions", "restarts")

    def __init__(self) -> None:
        self._gauges = {
            name: Gauge(f"verbatim_engine_{name}", f"`{name}` of the engine's /health.")
            for name in self.NAMES
        }

    def set(self, health: dict[str, Any]) -> None:
        """Takes over what is there."""
        for name, gauge in self._gauges.items():
            if isinstance(value := health.get(name), (int, float)):
                gauge.set(value)
