"""The command line: parse, call, print. Heavy imports wait until a command needs them, so that --help is quick."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from raglift.errors import InputError, RagliftError, suggest_name
from raglift.progress import say

if TYPE_CHECKING:
    from raglift.experiment import Run

app = typer.Typer(
    name="raglift",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Does RAG lift my fine-tuned model, on my own questions, and by how much?\n\n"
    "Example: raglift run ml-qa-ko",
)

EXPERIMENT = Annotated[str, typer.Argument(help="An experiment folder, or a bundled name such as ml-qa-ko.")]
RUN_DIR = Annotated[Path, typer.Argument(help="A run folder, for example runs/ml-qa-ko.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else there.")]
OVERRIDES = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: --set train.epochs=5")
]
ARMS = Annotated[str | None, typer.Option(help="Arms to run, comma separated, or 'all' for the 3 × 6 grid.")]


@app.command()
def run(  # noqa: PLR0913  the contract's options
    experiment: EXPERIMENT,
    run_dir: Annotated[Path | None, typer.Option("--run", help="Run folder [default: runs/<experiment>/].")] = None,
    arms: ARMS = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Training seeds.")] = None,
    overrides: OVERRIDES = None,
    as_json: AS_JSON = False,
) -> None:
    """Run a whole experiment; a second call resumes and does only what is missing.

    Examples:

      raglift run ml-qa-ko

      raglift run my-experiment --arms sft.none,rag-sft.oracle --set train.epochs=10
    """
    from raglift.experiment import open_run, run_experiment
    from raglift.report.summary import print_summary

    opened = open_run(experiment, run_dir, overrides or [], arms=arms, seeds=seeds)
    with opened.folder.hold_lock():
        comparison = run_experiment(opened)
    if as_json:
        print_json(comparison)
    else:
        print_summary(comparison, opened.config.report.language, opened.folder.report("html"))


@app.command()
def check(experiment: EXPERIMENT, overrides: OVERRIDES = None, arms: ARMS = None, as_json: AS_JSON = False) -> None:
    """Find what would spoil a run, and say what it can tell, before any hours are spent.

    Example: raglift check my-experiment
    """
    from dataclasses import asdict

    from raglift.config import load_config
    from raglift.datasets import find_experiment, load_experiment
    from raglift.preflight import check_experiment, describe_outlook

    folder = find_experiment(experiment)
    config = load_config(folder / "experiment.yaml", overrides or [], arms=arms)
    loaded = load_experiment(folder, config.name)
    check_experiment(loaded, config)
    outlook = asdict(describe_outlook(loaded, config))
    if as_json:
        print_json(outlook)
    else:
        for key, value in outlook.items():
            typer.echo(f"{key.replace('_', ' '):<28} {value}")
        typer.echo(f"no problems found; next: raglift run {experiment}")


@app.command()
def index(run_dir: RUN_DIR) -> None:
    """Build or refresh the passage index of a run. Example: raglift index runs/ml-qa-ko"""
    from raglift.experiment import index_passages

    run_stage(run_dir, index_passages)
    typer.echo(f"index: {run_dir / 'index'}")


@app.command()
def train(run_dir: RUN_DIR) -> None:
    """Train the adapters that are missing. Example: raglift train runs/ml-qa-ko"""
    from raglift.experiment import train_adapters

    run_stage(run_dir, train_adapters)
    typer.echo(f"adapters: {run_dir / 'adapters'}")


@app.command()
def answer(run_dir: RUN_DIR) -> None:
    """Make the answers that are missing. Example: raglift answer runs/ml-qa-ko"""
    from raglift.experiment import answer_questions

    run_stage(run_dir, answer_questions)
    typer.echo(f"answers: {run_dir / 'answers.jsonl'}")


@app.command()
def grade(  # noqa: PLR0913  the contract's options
    run_dir: Annotated[Path | None, typer.Argument(help="A run folder.")] = None,
    grader: Annotated[str | None, typer.Option(help="rubric or judge [default: the run's own].")] = None,
    answers: Annotated[Path | None, typer.Option(help="Answers from anywhere, JSONL.")] = None,
    questions: Annotated[str | None, typer.Option(help="questions.jsonl or an experiment.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the grades go, JSONL.")] = None,
    overrides: OVERRIDES = None,
    as_json: AS_JSON = False,
) -> None:
    """Grade a run's answers, or answers from anywhere (those by rubric). --set takes judge.… settings.

    Examples:

      raglift grade runs/ml-qa-ko

      raglift grade runs/ml-qa-ko --grader judge --set judge.url=http://localhost:8000/v1 --set judge.model=qwen3

      raglift grade --answers mine.jsonl --questions ml-qa-ko --out grades.jsonl
    """
    if run_dir is not None:
        grade_run_folder(run_dir, grader, overrides or [])
        return
    if answers is None or questions is None or out is None:
        raise InputError("grade", "no RUN_DIR", "RUN_DIR, or all of --answers, --questions and --out")
    from raglift.datasets import load_questions
    from raglift.grading.grades import grade_file
    from raglift.grading.rubric import RubricGrader

    asked, passages = load_questions(questions)
    counts = grade_file(answers, asked, RubricGrader(passages), out)
    if as_json:
        print_json({**counts, "out": str(out)})
    else:
        typer.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
        typer.echo(f"grades: {out}")


def grade_run_folder(run_dir: Path, grader: str | None, overrides: list[str]) -> None:
    """Grade a run with its own grader or the named one."""
    from raglift.experiment import grade_answers
    from raglift.grading.graders import GRADERS

    if grader is not None and grader not in GRADERS:
        fix = f"raglift review {run_dir}: people grade there" if grader == "human" else suggest_name(grader, GRADERS)
        raise InputError(f"--grader {grader}", "no such grader", " or ".join(GRADERS), fix)
    opened = run_stage(run_dir, lambda run: grade_answers(run, grader), overrides)
    typer.echo(f"grades: {opened.folder.grades(grader or opened.config.grader)}")


@app.command()
def compare(  # noqa: PLR0913  the contract's options
    run_dir: Annotated[Path | None, typer.Argument(help="A run folder.")] = None,
    a: Annotated[str | None, typer.Option("--a", help="An arm, or with --table a prefix.")] = None,
    b: Annotated[str | None, typer.Option("--b", help="The arm (or prefix) that is compared with it.")] = None,
    table: Annotated[Path | None, typer.Option(help="A CSV: question,PREFIX_correct,PREFIX_total,…")] = None,
    as_json: AS_JSON = False,
) -> None:
    """Compare two arms question by question.

    Examples:

      raglift compare runs/ml-qa-ko --a base.oracle --b rag-sft.oracle

      raglift compare --table results.csv --a without_rag --b with_rag
    """
    if table is not None:
        from raglift.comparison import compare_table

        if a is None or b is None:
            raise InputError("compare --table", "no --a or no --b", "the two column prefixes")
        result = compare_table(table, a, b)
    elif run_dir is not None:
        result = compare_run_folder(run_dir, a, b)
    else:
        raise InputError("compare", "neither RUN_DIR nor --table", "one of them")
    if as_json:
        print_json(result)
        return
    from raglift.report.summary import print_summary

    print_summary(result, "en")


def compare_run_folder(run_dir: Path, a: str | None, b: str | None) -> dict[str, Any]:
    """The run's own comparison, or another pair of its arms (which is then not written)."""
    from raglift.experiment import compare_arms, read_comparison, reopen_run

    opened = reopen_run(run_dir)
    if a is None and b is None:
        return compare_arms(opened)
    pair = {key: value for key, value in (("a", a), ("b", b)) if value is not None}
    compared = opened.config.compare.model_copy(update=pair)
    return read_comparison(opened, opened.config.model_copy(update={"compare": compared}))


@app.command()
def report(run_dir: RUN_DIR) -> None:
    """Write the report of a compared run. Example: raglift report runs/ml-qa-ko"""
    from raglift.experiment import report_run

    opened = run_stage(run_dir, report_run)
    typer.echo(f"report: {opened.folder.report('html')}")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The new experiment folder.")],
    from_experiment: Annotated[str, typer.Option("--from", help="The experiment to copy.")] = "ml-qa-ko",
) -> None:
    """Start an experiment of your own from a bundled one.

    Example: raglift init my-experiment
    """
    from raglift.datasets import copy_experiment

    copy_experiment(from_experiment, folder)
    typer.echo(f"experiment: {folder}\nnext: edit its files, then: raglift check {folder}")


def run_stage(run_dir: Path, stage: Any, judge_overrides: Sequence[str] = ()) -> Run:
    """Reopen a run and do one stage under its lock."""
    from raglift.experiment import reopen_run

    opened = reopen_run(run_dir, judge_overrides)
    with opened.folder.hold_lock():
        stage(opened)
    return opened


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def stop_politely(signum: int, frame: Any) -> NoReturn:
    """SIGTERM ends like Ctrl-C: files are whole, the same command goes on."""
    raise KeyboardInterrupt


def main() -> None:
    """The entry point: exit status 0 done, 1 the run failed, 2 the user's input is wrong."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    signal.signal(signal.SIGTERM, stop_politely)
    try:
        app()
    except RagliftError as error:
        if debug:
            traceback.print_exc()
        say(f"error: {error}")
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        say("stopped; what is finished is kept. To go on, give the same command again: " + " ".join(sys.argv))
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        say(f"error: {type(error).__name__}: {error}\n  to do: run it again with --debug for the traceback")
        sys.exit(1)
