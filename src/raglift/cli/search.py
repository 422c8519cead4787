"""The search alone: retrieve, tune it, measure it."""

from __future__ import annotations

from typing import Annotated

import typer

from raglift.cli.options import AS_JSON, EXPERIMENT, OVERRIDES, RUN, app, print_json, show
from raglift.errors import InputError


@app.command()
def retrieve(
    experiment: EXPERIMENT,
    question: Annotated[str | None, typer.Argument(help="The question; not with --all.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages.")] = 3,
    every: Annotated[bool, typer.Option("--all", help="Hit rates over every question of the experiment.")] = False,
    run_dir: RUN = None,
    overrides: OVERRIDES = None,
    as_json: AS_JSON = False,
) -> None:
    """Search the passages, or measure the search over all questions.

    Examples:

      raglift retrieve ml-qa-ko "재현율이 뭐야?"

      raglift retrieve ml-qa-ko --all --json
    """
    from raglift.contexts import open_search
    from raglift.retrieval.evaluation import evaluate_retriever

    if every == (question is not None):
        raise InputError("retrieve", "a question and --all" if every else "no question", "a QUESTION or --all")
    if question is not None and not question.strip():
        raise InputError("question", "empty", "a question with some text", "write a question")
    resolver = open_search(experiment, run_dir, overrides or [])
    with resolver.folder.hold_lock():
        retriever = resolver.open_retriever()
    if question is None:
        figures = evaluate_retriever(retriever, resolver.experiment.questions)
        if as_json:
            print_json(figures)
        else:
            for name, value in figures.items():
                if name != "ranks":
                    show(f"{name.replace('_', ' '):<24} {value}")
        return
    passages = resolver.experiment.passage_by_id
    found = [
        {"passage_id": row.passage_id, "score": round(row.score, 6), "text": passages[row.passage_id].text}
        for row in retriever.search([question], k)[0]
    ]
    if as_json:
        print_json({"question": question, "passages": found})
    elif not found:
        show("nothing found: no passage reaches the threshold")
    else:
        for row in found:
            show(f"{row['score']:.3f}  {row['passage_id']}\n       {row['text']}")


@app.command("tune-retriever")
def tune_retriever(
    experiment: EXPERIMENT,
    run_dir: RUN = None,
    overrides: OVERRIDES = None,
    as_json: AS_JSON = False,
) -> None:
    """Train the search on the experiment's own pairs; kept only if it finds more of what it was not trained on.

    Example: raglift tune-retriever ml-qa-ko
    """
    from raglift.contexts import open_search
    from raglift.retrieval.tuning import describe_tuning

    resolver = open_search(experiment, run_dir, overrides or [])
    with resolver.folder.hold_lock():
        tuned = resolver.tune_retriever()
    if as_json:
        print_json({**tuned.figures, "threshold": tuned.threshold, "weight": tuned.weight})
    else:
        show(f"{describe_tuning(tuned)}\nretriever: {resolver.folder.locate(resolver.folder.retriever)}")


bench_app = typer.Typer(no_args_is_help=True, help="Measure this machine.")
app.add_typer(bench_app, name="bench")


@bench_app.command("retrieve")
def bench_retrieve(
    experiment: Annotated[str, typer.Argument(help="Whose questions and embedder.")] = "ml-qa-ko",
    passages: Annotated[int, typer.Option(min=100, help="Passages that the questions search.")] = 10_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often every question is asked each way.")] = 1,
    sizes: Annotated[str, typer.Option(help="Growth: numbers of passages, comma separated, or none.")] = (
        "1000,10000,100000"
    ),
    overrides: OVERRIDES = None,
    as_json: AS_JSON = False,
) -> None:
    """Milliseconds a question, embedding included, beside LanceDB and numpy; how cost and recall@10 grow.

    Examples:

      raglift bench retrieve

      raglift bench retrieve --passages 50000 --sizes none
    """
    from raglift.benchmarks.growth import bench_retrieval
    from raglift.benchmarks.querying import bench_queries
    from raglift.config import load_config
    from raglift.datasets import find_experiment, load_experiment
    from raglift.progress import show_progress
    from raglift.retrieval.embedders import load_embedder

    growth = [] if sizes.strip() == "none" else sizes.split(",")
    if not all(size.strip().isdigit() and int(size) >= 100 for size in growth):
        raise InputError("--sizes", repr(sizes), "whole numbers of at least 100, for example 1000,10000, or none")
    folder = find_experiment(experiment)
    config = load_config(folder / "experiment.yaml", overrides or [])
    questions = [question.question for question in load_experiment(folder, config.name).questions]
    with show_progress("index passages", 0) as bar:
        embedder = load_embedder(config.retrieval.embedder)
        figures = bench_queries(embedder, questions, passages, rounds, bar.follow)
    with show_progress("index passages", 0) as bar:
        rows = bench_retrieval([int(size) for size in growth], None, bar.follow)
    if as_json:
        print_json({"query": figures, "retrieve": rows})
        return
    for name, value in figures.items():
        show(f"{name.replace('_', ' '):<34} {value}")
    for row in rows:
        show("  ".join(f"{name.replace('_', ' ')} {value}" for name, value in row.items()))
