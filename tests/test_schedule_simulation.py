"""The simulation behind docs/scale.md: exact where it can be computed by hand, and never better than the ideal."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def schedule() -> ModuleType:
    file = Path(__file__).parent.parent / "scripts" / "simulate_schedule.py"
    specification = importlib.util.spec_from_file_location("simulate_schedule", file)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["simulate_schedule"] = module
    specification.loader.exec_module(module)
    return module


def test_equal_units_fill_equal_slots_exactly(schedule: ModuleType) -> None:
    found = schedule.simulate(schedule.Stage(40, 10.0, spread=0.0), schedule.Cluster(5, 2), seed=0)
    assert found.makespan == pytest.approx(40.0)
    assert found.ideal == pytest.approx(40.0)
    assert schedule.simulate(schedule.Stage(41, 10.0, spread=0.0), schedule.Cluster(5, 2), 0).makespan == 50.0


def test_a_slow_node_takes_fewer_units_but_may_hold_the_last(schedule: ModuleType) -> None:
    slow = schedule.Cluster(2, 1, slow_share=0.5, slowness=3.0)
    assert schedule.simulate(schedule.Stage(4, 10.0, spread=0.0), slow, 0).makespan == pytest.approx(30.0)
    ends = {round(schedule.simulate(schedule.Stage(5, 10.0, spread=0.0), slow, seed).makespan) for seed in range(20)}
    assert ends == {40, 60}, "both are free at 30 s, and which of the two is slow is drawn"


def test_deaths_cost_time_and_no_units(schedule: ModuleType) -> None:
    stage = schedule.Stage(2000, 60.0)
    calm = [schedule.simulate(stage, schedule.Cluster(10, 1), seed) for seed in range(5)]
    mortal = [schedule.simulate(stage, schedule.Cluster(10, 1, node_life=7200.0), seed) for seed in range(5)]
    assert all(one.lost_units == 0 for one in calm)
    assert all(one.lost_units > 0 for one in mortal)
    assert np.mean([one.makespan for one in mortal]) > np.mean([one.makespan for one in calm])
    assert all(one.makespan >= one.ideal for one in [*calm, *mortal])


def test_a_checkpoint_saves_what_was_done_before_it(schedule: ModuleType) -> None:
    cluster = schedule.Cluster(1, 1, node_life=20_000.0, repair=0.0)

    def sum_makespans(checkpoint: float) -> float:
        stage = schedule.Stage(3, 20_000.0, spread=0.0, checkpoint=checkpoint)
        return sum(schedule.simulate(stage, cluster, seed).makespan for seed in range(10))

    assert sum_makespans(60.0) < sum_makespans(np.inf)
    assert sum_makespans(60.0) >= 10 * 60_000


def test_a_seed_decides_everything(schedule: ModuleType) -> None:
    cluster = schedule.Cluster(10, 2, slow_share=0.1, node_life=5000.0)
    stage = schedule.Stage(500, 30.0)
    assert schedule.simulate(stage, cluster, 3) == schedule.simulate(stage, cluster, 3)
    assert schedule.simulate(stage, cluster, 3) != schedule.simulate(stage, cluster, 4)


def test_the_page_calculates_from_the_same_figures(schedule: ModuleType) -> None:
    page = (Path(__file__).parent.parent / "docs" / "scale.md").read_text(encoding="utf-8")
    answers, seconds = f"{schedule.ANSWERS_A_SECOND:.2f}", f"{schedule.SECONDS_A_ROW:.2f}"
    for text in (f"| {answers} answers a second |", f"32e6 / {answers} =", f"4 × 32 / {answers} ="):
        assert text in page
    for text in (f"| {seconds} s a training row |", f"260 × {seconds} s =", f"23,000 rows × {seconds} s ="):
        assert text in page
