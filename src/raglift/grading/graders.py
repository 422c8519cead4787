"""The graders by name: for a run, and for answers from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from raglift.config import Config, load_config, override_section
from raglift.datasets import find_experiment, load_questions
from raglift.grading.grades import Grader
from raglift.grading.judge import build_judge
from raglift.grading.rubric import RubricGrader
from raglift.records import Experiment


def build_rubric_grader(experiment: Experiment, config: Config, calls: Path) -> Grader:
    """The rubric grader with the experiment's own names of terms."""
    return RubricGrader(experiment.passages)


GRADERS: dict[str, Callable[[Experiment, Config, Path], Grader]] = {
    "rubric": build_rubric_grader,
    "judge": build_judge,
}
"""Each is built from the experiment, its settings, and the file for calls to a server."""


def open_file_grader(name: str, source: str, overrides: Sequence[str], out: Path) -> tuple[Grader, Experiment]:
    """A grader for answers from anywhere, with the questions they may answer.

    Args:
        name: one of `GRADERS`.
        source: an experiment, whose passages and settings count too, or a questions.jsonl alone.
        overrides: `judge.key=value`.
        out: where the grades go; a judge keeps its calls beside it (`grades.jsonl` → `grades.calls.jsonl`).
    """
    questions, passages = load_questions(source)
    experiment = Experiment("", "", tuple(passages), (), tuple(questions))
    plain = name == "rubric" or Path(source).is_file()  # a rubric needs no settings, a file alone has none
    config = Config(name="answers") if plain else load_config(find_experiment(source) / "experiment.yaml")
    config = override_section(config, "judge", overrides)
    return GRADERS[name](experiment, config, out.with_suffix(".calls.jsonl")), experiment
