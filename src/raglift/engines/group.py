"""Processes that torchrun or accelerate launch started together: they train each adapter as one.

The first process runs the command. The others wait for what it hands out, through the launcher's key-value store:
a collective operation would keep a process that has to end, or that grades for hours, waiting for the others.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch.distributed import TCPStore, destroy_process_group, is_initialized  # type: ignore[attr-defined]

from raglift.engines import Needs, Result, Unit, count_processes
from raglift.engines.local import LocalEngine
from raglift.progress import Meter, redirect_lines, say

LOOK = 0.2  # seconds between two looks at what is handed out


class HandedOut:
    """What the first process hands out to the others, in order: units as JSON, at last None."""

    def __init__(self) -> None:
        self.number = 0

    @cached_property
    def store(self) -> TCPStore:
        """The store that the launcher keeps."""
        return TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)

    def put(self, unit: Any) -> None:
        """Hand out the next unit; does not wait for anybody."""
        self.store.set(self._name_next(), json.dumps(unit))

    def take(self) -> Any:
        """Wait for the next unit: by looks, for the store's own waiting is deaf to signals and complains in the end."""
        name = self._name_next()
        while not self.store.check([name]):
            time.sleep(LOOK)
        return json.loads(self.store.get(name))

    def _name_next(self) -> str:
        self.number += 1
        return f"raglift/{self.number}"


handed_out = HandedOut()


class GroupEngine(LocalEngine):
    """Computes here, in the units' order; the other processes compute with it the units that need them."""

    def __init__(self) -> None:
        choose_gpu()
        say(f"{count_processes()} processes train each adapter together; all else is done by this one")

    def compute(
        self,
        description: str,
        work: Callable[[Unit, Meter], Result],
        units: Sequence[Unit],
        total: int,
        needs: Needs,
    ) -> Iterator[tuple[Unit, Result]]:
        """See `Engine`."""
        describe = needs.together

        def work_together(unit: Unit, meter: Meter) -> Result:
            if describe:
                handed_out.put(describe(unit))
            return work(unit, meter)

        return super().compute(description, work_together, units, total, needs)


def choose_gpu() -> None:
    """Each process of a machine takes a GPU of its own, where there are any."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def follow(work: Callable[[Any], object]) -> None:
    """In every process but the first: compute with it the units that it hands out, until its command ends."""
    choose_gpu()
    redirect_lines(lambda line: None)  # the first says the same
    while (unit := handed_out.take()) is not None:
        work(unit)
    leave()


def release() -> None:
    """In the first process, when its command ends: so do the others."""
    handed_out.put(None)
    leave()


def leave() -> None:
    """End the group that the trainer made."""
    if is_initialized():
        destroy_process_group()
