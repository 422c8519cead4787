"""Measure this machine: this package beside the plain library way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from raglift.cli.options import AS_JSON, OVERRIDES, print_json, show
from raglift.cli.search import bench_app


@bench_app.command("train")
def bench_train(
    experiment: Annotated[str, typer.Argument(help="Whose training rows and settings.")] = "ml-qa-ko",
    rounds: Annotated[int, typer.Option(min=1, help="Blocks of each way, by turns.")] = 2,
    steps: Annotated[int, typer.Option(min=2, help="Steps a block; the first is not counted.")] = 6,
    shape: Annotated[str | None, typer.Option(help="Random weights in a model's shape: kanana-2.1b.")] = None,
    overrides: OVERRIDES = None,
    as_json: AS_JSON = False,
) -> None:
    """Seconds a training step beside TRL's SFTTrainer, or of a large model's shape.

    Examples:

      raglift bench train

      raglift bench train --shape kanana-2.1b --steps 3
    """
    from raglift.benchmarks.training import bench_shape, bench_training
    from raglift.benchmarks.workload import load_workload
    from raglift.config import load_config
    from raglift.datasets import find_experiment
    from raglift.progress import show_progress

    with show_progress("train", steps if shape else 2 * rounds * steps) as bar:
        if shape:
            config = load_config(find_experiment(experiment) / "experiment.yaml", overrides or [])
            figures = bench_shape(shape, config, steps, bar)
        else:
            work = load_workload(experiment, overrides or [])
            figures = bench_training(work.loaded, work.config, work.encode_rows(), rounds, steps, bar)
    print_figures(figures, as_json)


@bench_app.command("answer")
def bench_answer(
    experiment: Annotated[str, typer.Argument(help="Whose questions and settings.")] = "ml-qa-ko",
    adapter: Annotated[Path | None, typer.Option(help="A trained adapter; the base never ends an answer.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each way, by turns.")] = 2,
    questions: Annotated[int, typer.Option(min=1, help="Questions a batch.")] = 24,
    alone: Annotated[int, typer.Option(min=1, help="Answers one by one.")] = 6,
    overrides: OVERRIDES = None,
    as_json: AS_JSON = False,
) -> None:
    """Tokens a second beside `generate`, one by one and on the same batch.

    Examples:

      raglift bench answer

      raglift bench answer --adapter runs/ml-qa-ko/adapters/rag-sft-seed0
    """
    from raglift.benchmarks.answering import bench_answering
    from raglift.benchmarks.workload import load_workload
    from raglift.progress import show_progress

    work = load_workload(experiment, overrides or [], adapter)
    decoding = work.config.answer.model_copy(update={"stop": "token"})  # `generate` knows no other end
    with show_progress("answer", 3 * rounds) as bar:
        figures = bench_answering(work.loaded, work.write_prompts()[:questions], decoding, rounds, alone, bar)
    print_figures(figures, as_json)


def print_figures(figures: dict[str, Any], as_json: bool) -> None:
    """One figure a line, or JSON, with the machine that they were measured on."""
    from raglift.machine import describe_machine

    figures = {**figures, "machine": describe_machine()}
    if as_json:
        print_json(figures)
        return
    for name, value in figures.items():
        if value is not None:
            show(f"{name.replace('_', ' '):<34} {value}")
