"""The graders that a run can be graded with, by name."""

from __future__ import annotations

from collections.abc import Callable

from raglift.config import Config
from raglift.grading.grades import Grader
from raglift.grading.judge import build_judge
from raglift.grading.rubric import RubricGrader
from raglift.records import Experiment
from raglift.runfolder import RunFolder


def build_rubric_grader(experiment: Experiment, config: Config, folder: RunFolder) -> Grader:
    """The rubric grader with the experiment's own names of terms."""
    return RubricGrader(experiment.passages)


GRADERS: dict[str, Callable[[Experiment, Config, RunFolder], Grader]] = {
    "rubric": build_rubric_grader,
    "judge": build_judge,
}
