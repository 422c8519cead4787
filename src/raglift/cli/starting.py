"""A new experiment from one's own data, and what a run of it will be able to tell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raglift.cli.options import ARMS, AS_JSON, EXPERIMENT, OVERRIDES, app, print_json, show


@app.command()
def init(  # noqa: PLR0913, PLR0917  an option each for what can be read and how
    folder: Annotated[Path, typer.Argument(help="The new experiment folder; nothing may be in it yet.")],
    from_experiment: Annotated[
        str | None, typer.Option("--from", help="An experiment to copy [default: ml-qa-ko].")
    ] = None,
    with_csv: Annotated[Path | None, typer.Option(help="The founding layout's CSV with retrieved texts.")] = None,
    without_csv: Annotated[Path | None, typer.Option(help="The founding layout's CSV without them.")] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="TABLE", help="CSV, JSONL, JSON, Parquet, or a Hugging Face dataset (folder or id)."),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Fields: question, answer, passage, split, rubric."),
    ] = None,
    documents: Annotated[
        Path | None, typer.Option(help="A folder of Markdown, text or PDF, cut into passages.")
    ] = None,
    eval_share: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Questions for evaluation where no column tells.")
    ] = 0.3,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows of each part.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Of text files [default: UTF-8, Korean cp949 is seen].")] = None,
    passage_length: Annotated[int, typer.Option(min=50, help="Characters of a passage cut from a document.")] = 400,
    interactive: Annotated[bool, typer.Option("--interactive", help="Ask for everything.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Start an experiment: from the bundled one, or from your own questions, answers and passages.

    Examples:

      raglift init my-experiment

      raglift init my-experiment --data qa.csv --map question=q --map answer=a --map passage=context

      raglift init my-experiment --with-csv with_rag.csv --without-csv without_rag.csv

      raglift init my-experiment --documents manuals/
    """
    from dataclasses import asdict

    from raglift.cli.interview import ask_sources
    from raglift.importing.starting import Sources, describe_new, start_experiment

    sources = Sources(
        from_experiment, with_csv, without_csv, data, tuple(mapping or ()), documents,
        eval_share, limit, encoding, passage_length,
    )  # fmt: skip
    made = start_experiment(folder, ask_sources(sources) if interactive else sources)
    if as_json:
        print_json({**asdict(made), "folder": str(made.folder)})
    else:
        show("\n".join(describe_new(made)))


@app.command()
def check(
    experiment: EXPERIMENT,
    overrides: OVERRIDES = None,
    arms: ARMS = None,
    lint: Annotated[bool, typer.Option("--lint", help="Also what looks doubtful in the rubrics.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Load no model: no lengths, search or time.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Find what would spoil a run, and say what it can tell and will cost, before any hours are spent.

    Examples:

      raglift check my-experiment

      raglift check my-experiment --lint --quick
    """
    from raglift.config import load_config
    from raglift.datasets import find_experiment, load_experiment
    from raglift.outlook import list_next_steps, survey_experiment
    from raglift.preflight import check_experiment, lint_experiment
    from raglift.report.outlook import print_survey, survey_as_json

    folder = find_experiment(experiment)
    config = load_config(folder / "experiment.yaml", overrides or [], arms=arms)
    loaded = load_experiment(folder, config.name)
    check_experiment(loaded, config)
    warnings = lint_experiment(loaded, thorough=lint)
    survey = survey_experiment(loaded, config, quick)
    steps = list_next_steps(survey, config, experiment, loaded.folder)
    if as_json:
        print_json(survey_as_json(survey, warnings if lint else None, steps))
    else:
        print_survey(survey, warnings if lint else None, steps)
