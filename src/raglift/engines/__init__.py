"""Where the units of a stage's work are computed: in this process, in several started together, or on a Ray cluster.

A stage plans its units and writes what comes back; an engine only decides where and when each is computed.
So the same units have the same keys and give the same results under every engine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from raglift.errors import InputError, suggest_name
from raglift.progress import Meter

Unit = TypeVar("Unit")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Needs:
    """What a unit occupies while it is computed: threads, and a GPU where the device is not `cpu` and one is there.

    `together`: processes that were started together compute the unit as one; it is what tells the others of the unit,
    as JSON.
    """

    threads: int = 1
    device: str = "cpu"
    together: Callable[[Any], Any] | None = None


class Engine(Protocol):
    """Computes independent units of work."""

    def start(self, module: str) -> None:
        """Begin to start what it computes with, beside what the command does meanwhile; when the input is checked.

        Args:
            module: where units' work is; what it imports may take longer than starting.
        """
        ...

    def compute(
        self,
        description: str,
        work: Callable[[Unit, Meter], Result],
        units: Sequence[Unit],
        total: int,
        needs: Needs,
    ) -> Iterator[tuple[Unit, Result]]:
        """Every unit with its result, as results come in, under one progress bar of `total` steps.

        Args:
            description: the bar's.
            work: a function of a module, which reports its steps to the meter. It may be called again for a
                unit whose worker died, so that calling it twice must do no harm.
            units: can be pickled.
            total: steps of all units.
            needs: of each unit.
        """
        ...

    def call(self, work: Callable[[Unit], Result], unit: Unit) -> Result:
        """One piece of work that mostly waits for a server; many threads may call at once.

        Where the node that waited dies, the work is done again; what it raised is raised here.
        """
        ...

    def close(self) -> None:
        """End what the engine started."""
        ...


def open_engine(name: str, address: str | None = None) -> Engine:
    """The engine of that name; InputError for unknown names and for an address that it has no use for."""
    if name not in ENGINES:
        raise InputError("--engine", f"'{name}'", "an engine", suggest_name(name, ENGINES))
    if name == "local" and address is not None:
        raise InputError("--address", "an address for the local engine", "none", "--engine ray uses it")
    if name != "local" and count_processes() > 1:
        raise InputError(
            f"--engine {name}", "several processes started together", "one", "leave out torchrun or accelerate launch"
        )
    return ENGINES[name](address)


def open_local_engine(address: str | None) -> Engine:
    """This process; where torchrun or accelerate launch started several, all of them."""
    if count_processes() > 1:
        from raglift.engines.group import GroupEngine

        return GroupEngine()
    from raglift.engines.local import LocalEngine

    return LocalEngine()


def count_processes() -> int:
    """How many processes torchrun or accelerate launch started together; 1 where they started none."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def open_ray_engine(address: str | None) -> Engine:
    """A Ray cluster; InputError where ray is not installed."""
    try:
        from raglift.engines.ray import RayEngine
    except ImportError as error:
        raise InputError("--engine ray", f"not installed ({error})", "ray", "pip install 'raglift[ray]'") from None
    return RayEngine(address)


ENGINES: dict[str, Callable[[str | None], Engine]] = {"local": open_local_engine, "ray": open_ray_engine}
