"""The engine that computes one unit after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from raglift.engines import Needs, Result, Unit
from raglift.progress import Meter, show_progress


class LocalEngine:
    """Computes here, in the units' order."""

    def start(self, module: str) -> None:
        """Nothing to start."""

    def compute(
        self,
        description: str,
        work: Callable[[Unit, Meter], Result],
        units: Sequence[Unit],
        total: int,
        needs: Needs,
    ) -> Iterator[tuple[Unit, Result]]:
        """See `Engine`."""
        with show_progress(description, total) as bar:
            for unit in units:
                yield unit, work(unit, bar)

    def call(self, work: Callable[[Unit], Result], unit: Unit) -> Result:
        """See `Engine`."""
        return work(unit)

    def close(self) -> None:
        """Nothing was started."""
