"""Counters of a server in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
HELP = {
    "requests": "Requests by path and status.",
    "rejected": "Requests refused by a limit.",
    "generated_tokens": "Tokens written.",
    "batches": "Batches answered.",
    "batched_answers": "Answers in those batches.",
    "batch_seconds": "Time spent answering them.",
    "feedback": "Verdicts given on the page.",
}
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters and one histogram, counted from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, dict[Labels, float]] = {name: defaultdict(float) for name in HELP}
        self._seconds: dict[str, list[float]] = {}  # by path: a count a bucket, then all, then their sum

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            self._counters[name][tuple(sorted(labels.items()))] += amount

    def count_batch(self, rows: int, tokens: int, seconds: float) -> None:
        """One batch that was answered."""
        self.count("batches")
        self.count("batched_answers", rows)
        self.count("generated_tokens", tokens)
        self.count("batch_seconds", seconds)

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """One request that was replied to."""
        self.count("requests", path=path, status=str(status))
        with self._lock:
            row = self._seconds.setdefault(path, [0.0] * (len(BUCKETS) + 2))
            for place, bound in enumerate(BUCKETS):
                row[place] += seconds <= bound
            row[-2] += 1
            row[-1] += seconds

    def write(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """The exposition; `gauges` are name -> (help, value) as of now."""
        lines = []
        with self._lock:
            for name, help_text in HELP.items():
                full = f"raglift_{name}_total"
                lines += [f"# HELP {full} {help_text}", f"# TYPE {full} counter"]
                rows = self._counters[name] or {(): 0.0}
                lines += [f"{full}{_write_labels(labels)} {_write_number(value)}" for labels, value in rows.items()]
            lines.append("# HELP raglift_request_seconds Time to the end of the reply.")
            lines.append("# TYPE raglift_request_seconds histogram")
            for path, row in self._seconds.items():
                for bound, count in zip((*(f"{bucket:g}" for bucket in BUCKETS), "+Inf"), row, strict=False):
                    lines.append(f'raglift_request_seconds_bucket{{path="{path}",le="{bound}"}} {_write_number(count)}')
                lines.append(f'raglift_request_seconds_sum{{path="{path}"}} {_write_number(row[-1])}')
                lines.append(f'raglift_request_seconds_count{{path="{path}"}} {_write_number(row[-2])}')
        for name, (help_text, value) in gauges.items():
            lines += [f"# HELP raglift_{name} {help_text}", f"# TYPE raglift_{name} gauge"]
            lines.append(f"raglift_{name} {_write_number(value)}")
        return "\n".join(lines) + "\n"


def _write_labels(labels: Labels) -> str:
    return "{" + ",".join(f'{key}="{value}"' for key, value in labels) + "}" if labels else ""


def _write_number(value: float) -> str:
    return f"{value:.15g}"
