"""What all commands share: the application, options, one stage under its lock, JSON out."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raglift.sanitization import clean_text, escape_json

if TYPE_CHECKING:
    from raglift.engines import Engine
    from raglift.experiment import Run

app = typer.Typer(
    name="raglift",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Does RAG lift my fine-tuned model, on my own questions, and by how much?\n\nExample: raglift run ml-qa-ko",
)

EXPERIMENT = Annotated[str, typer.Argument(help="An experiment folder, or a bundled name such as ml-qa-ko.")]
RUN_DIR = Annotated[
    str, typer.Argument(help="A run folder, for example runs/ml-qa-ko, or its address, s3://bucket/my-run.")
]
RUN = Annotated[
    str | None,
    typer.Option("--run", metavar="DIR", help="Run folder or its address [default: runs/<experiment>/]."),
]
AS_JSON = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else there.")]
OVERRIDES = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: --set train.epochs=5")
]
ARMS = Annotated[str | None, typer.Option(help="Arms to run, comma separated, or 'all' for the 3 × 6 grid.")]
ENGINE = Annotated[str, typer.Option(help="Where training and answering run: local, or ray for a cluster.")]
ADDRESS = Annotated[
    str | None, typer.Option(help="A Ray cluster, host:port or auto [default: one on this machine alone].")
]


def run_stage(
    run_dir: str, name: str, stage: Any, judge_overrides: Sequence[str] = (), engine: Engine | None = None
) -> Run:
    """Reopen a run and do one stage, by its name and function, under its lock."""
    from raglift.experiment import reopen_run

    opened = reopen_run(run_dir, judge_overrides, name)
    with opened.folder.hold_lock():
        if engine is not None:
            opened.compute_with(engine)
        stage(opened)
    return opened


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(escape_json(json.dumps(value, ensure_ascii=False, allow_nan=False)) + "\n")


def show(text: str) -> None:
    """Text to standard output; control characters in it are seen and not obeyed."""
    typer.echo(clean_text(text))
