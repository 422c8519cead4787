"""The fault suite's short form: a few kills, signals and damaged files. `make faults` runs all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import fault_cases
from fault_lab import Disturbance, Ended, Lab, Row, kill, terminate_in_step
from fault_suite import make_lab

Calm = tuple[Lab, Path, Ended]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    lab, folder, ended = make_lab(tmp_path_factory.mktemp("faults"))
    return lab, folder, ended


@pytest.mark.parametrize("stage", ["train", "answer", "grade"])
def test_killed_run_goes_on_byte_for_byte(calm: Calm, stage: str) -> None:
    lab, folder, ended = calm
    row = Row("kill -9", stage, "")
    mine = lab.make_folder()
    killed = lab.run(mine, Disturbance(stage, kill, max(1e-3, 0.6 * ended.stages[stage])))
    fault_cases.judge(lab, row, killed, mine, folder)
    assert not row.problems


def test_sigterm_ends_with_what_to_type(calm: Calm) -> None:
    lab, folder, _ = calm
    row, mine = Row("SIGTERM", "train", ""), lab.make_folder()
    stopped = lab.run(mine, Disturbance(patch=terminate_in_step))
    fault_cases.judge(lab, row, stopped, mine, folder, "give the same command again", code=130)
    assert not row.problems


@pytest.mark.parametrize("name", ["answers", "comparison"])
def test_damaged_file_is_named_and_made_again(calm: Calm, name: str) -> None:
    lab, folder, _ = calm
    for row in fault_cases.damage_artifacts(lab, folder, (name,)):
        assert not row.problems, row
