"""The stages of a run: one verb each, in their order, and `run` for all of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from raglift.cli.options import (
    ADDRESS,
    ARMS,
    AS_JSON,
    ENGINE,
    EXPERIMENT,
    OVERRIDES,
    RUN,
    RUN_DIR,
    app,
    print_json,
    run_stage,
    show,
)
from raglift.engines import Engine, open_engine
from raglift.errors import InputError


@app.command()
def run(  # noqa: PLR0913, PLR0917 - options, not parameters
    experiment: EXPERIMENT,
    run_dir: RUN = None,
    arms: ARMS = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Training seeds.")] = None,
    overrides: OVERRIDES = None,
    engine: ENGINE = "local",
    address: ADDRESS = None,
    as_json: AS_JSON = False,
) -> None:
    """Run a whole experiment; a second call resumes and does only what is missing.

    Examples:

      raglift run ml-qa-ko

      raglift run my-experiment --arms sft.none,rag-sft.oracle --set train.epochs=10

      raglift run my-experiment --run /shared/my-run --seeds 5 --engine ray --address head:6379

      raglift run my-experiment --run s3://bucket/my-run

      raglift run my-experiment --set train.epochs=5,10,20 --set lora.rank=8,64
    """
    with closing(open_engine(engine, address)) as opened:
        from raglift.sweep import expand_settings

        work = sweep_settings if expand_settings(overrides or [])[1] else run_one
        print_result = work(experiment, run_dir, overrides or [], opened, as_json, arms=arms, seeds=seeds)
    print_result()


def run_one(
    experiment: str, run_dir: str | None, overrides: list[str], engine: Engine, as_json: bool, **options: Any
) -> Callable[[], None]:
    """Run one setting; what prints its comparison."""
    from raglift.experiment import open_run, run_experiment
    from raglift.report.summary import print_summary

    opened = open_run(experiment, run_dir, overrides, **options)
    opened.compute_with(engine)
    with opened.folder.hold_lock():
        comparison = run_experiment(opened)
    if as_json:
        return partial(print_json, comparison)
    page = opened.folder.locate(opened.folder.report("html"))
    return partial(print_summary, comparison, opened.config.report.language, page)


def sweep_settings(
    experiment: str, run_dir: str | None, overrides: list[str], engine: Engine, as_json: bool, **options: Any
) -> Callable[[], None]:
    """Run every setting of a sweep; what prints its table."""
    from raglift.report.sweep import print_sweep
    from raglift.sweep import run_sweep

    sweep, home = run_sweep(experiment, run_dir, overrides, engine, **options)
    if as_json:
        return partial(print_json, sweep)
    return partial(print_sweep, sweep, home.locate(home.path / "sweep" / "sweep.html"))


@app.command()
def index(run_dir: RUN_DIR) -> None:
    """Build or refresh the passage index of a run. Example: raglift index runs/ml-qa-ko"""
    from raglift.experiment import index_passages

    folder = run_stage(run_dir, "index", index_passages).folder
    show(f"index: {folder.locate(folder.index)}")


@app.command()
def train(run_dir: RUN_DIR, engine: ENGINE = "local", address: ADDRESS = None) -> None:
    """Train the adapters that are missing. Example: raglift train runs/ml-qa-ko"""
    with closing(open_engine(engine, address)) as opened:
        from raglift.experiment import train_adapters

        folder = run_stage(run_dir, "train", train_adapters, engine=opened).folder
    show(f"adapters: {folder.locate(folder.path / 'adapters')}")


@app.command()
def answer(run_dir: RUN_DIR, engine: ENGINE = "local", address: ADDRESS = None) -> None:
    """Make the answers that are missing. Example: raglift answer runs/ml-qa-ko"""
    with closing(open_engine(engine, address)) as opened:
        from raglift.experiment import answer_questions

        folder = run_stage(run_dir, "answer", answer_questions, engine=opened).folder
    show(f"answers: {folder.locate(folder.answers)}")


@app.command()
def compare(
    run_dir: Annotated[str | None, typer.Argument(help="A run folder or its address.")] = None,
    other_run: Annotated[str | None, typer.Argument(help="A second run folder, compared with the first.")] = None,
    a: Annotated[str | None, typer.Option("--a", help="An arm; with --table a prefix, with --grades a name.")] = None,
    b: Annotated[str | None, typer.Option("--b", help="The arm (or prefix) that is compared with it.")] = None,
    table: Annotated[Path | None, typer.Option(help="A CSV: question,PREFIX_correct,PREFIX_total,…")] = None,
    grades: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="A.jsonl B.jsonl", help="Two files that raglift grade wrote.")
    ] = None,
    as_json: AS_JSON = False,
) -> None:
    """Compare two arms question by question.

    Examples:

      raglift compare runs/ml-qa-ko --a base.oracle --b rag-sft.oracle

      raglift compare runs/five-epochs runs/twenty-epochs --a rag-sft.oracle --b rag-sft.oracle

      raglift compare --table results.csv --a without_rag --b with_rag

      raglift compare --grades vendor.jsonl mine.jsonl
    """
    if sum(one is not None for one in (run_dir, table, grades)) > 1:
        raise InputError("compare", "several of RUN_DIR, --table and --grades", "one of them")
    if table is not None:
        from raglift.comparison_files import compare_table

        if a is None or b is None:
            raise InputError("compare --table", "no --a or no --b", "the two column prefixes")
        result, language = compare_table(table, a, b), "en"
    elif grades is not None:
        from raglift.comparison_files import compare_grades

        result, language = compare_grades(*grades, names=(a or grades[0].stem, b or grades[1].stem)), "en"
    elif run_dir is not None:
        result, language = compare_run_folders(run_dir, other_run, a, b)
    else:
        raise InputError("compare", "neither RUN_DIR nor --table nor --grades", "one of them")
    if as_json:
        print_json(result)
        return
    from raglift.report.summary import print_summary

    print_summary(result, language)


def compare_run_folders(
    run_dir: str, other_run: str | None, a: str | None, b: str | None
) -> tuple[dict[str, Any], str]:
    """The run's own comparison, another pair of its arms, or an arm of two runs; and the report's language."""
    from raglift.experiment import compare_arms, read_comparison, read_comparison_of_two, reopen_run

    opened = reopen_run(run_dir, stage="compare")
    language = opened.config.report.language
    if other_run is not None:
        return read_comparison_of_two(opened, reopen_run(other_run, stage="compare"), a, b), language
    if a is None and b is None:
        with opened.folder.hold_lock():
            return compare_arms(opened), language
    pair = {key: value for key, value in (("a", a), ("b", b)) if value is not None}
    compared = opened.config.compare.model_copy(update=pair)
    if compared.a == compared.b:
        raise InputError("--a and --b", f"'{compared.a}' twice", "two arms that differ", "two runs may share an arm")
    return read_comparison(opened, opened.config.model_copy(update={"compare": compared})), language


@app.command()
def report(run_dir: RUN_DIR) -> None:
    """Write the report of a compared run. Example: raglift report runs/ml-qa-ko"""
    from raglift.experiment import report_run

    folder = run_stage(run_dir, "report", report_run).folder
    show(f"report: {folder.locate(folder.report('html'))}")
