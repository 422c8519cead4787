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

from raglift.errors import InputError, Interruption, RagliftError, suggest_name
from raglift.progress import say

if TYPE_CHECKING:
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
RUN_DIR = Annotated[Path, typer.Argument(help="A run folder, for example runs/ml-qa-ko.")]
AS_JSON = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else there.")]
OVERRIDES = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting: --set train.epochs=5")
]
ARMS = Annotated[str | None, typer.Option(help="Arms to run, comma separated, or 'all' for the 3 × 6 grid.")]


@app.command()
def run(
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
def check(
    experiment: EXPERIMENT,
    overrides: OVERRIDES = None,
    arms: ARMS = None,
    lint: Annotated[bool, typer.Option("--lint", help="Also what looks doubtful in the rubrics.")] = False,
    as_json: AS_JSON = False,
) -> None:
    """Find what would spoil a run, and say what it can tell, before any hours are spent.

    Examples:

      raglift check my-experiment

      raglift check my-experiment --lint
    """
    from dataclasses import asdict

    from raglift.config import load_config
    from raglift.datasets import find_experiment, load_experiment
    from raglift.preflight import check_experiment, describe_outlook, lint_experiment

    folder = find_experiment(experiment)
    config = load_config(folder / "experiment.yaml", overrides or [], arms=arms)
    loaded = load_experiment(folder, config.name)
    check_experiment(loaded, config)
    warnings = lint_experiment(loaded, thorough=lint)
    outlook = asdict(describe_outlook(loaded, config))
    if as_json:
        print_json({**outlook, "warnings": [asdict(one) for one in warnings]} if lint else outlook)
    else:
        for key, value in outlook.items():
            typer.echo(f"{key.replace('_', ' '):<28} {value}")
        for one in warnings:
            typer.echo(f"{one.severity}: {one.question_id}: {one.rubric}: {one.text}")
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
def grade(  # noqa: PLR0913, PLR0917  an option each for what, by whom and where to
    run_dir: Annotated[Path | None, typer.Argument(help="A run folder.")] = None,
    grader: Annotated[str | None, typer.Option(help="rubric or judge [default: the run's own].")] = None,
    answers: Annotated[Path | None, typer.Option(help="Answers from anywhere, JSONL.")] = None,
    questions: Annotated[str | None, typer.Option(help="questions.jsonl or an experiment.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the grades go, JSONL.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what each requirement matched; write nothing.")
    ] = False,
    question: Annotated[str | None, typer.Option(metavar="ID", help="With --explain: this question only.")] = None,
    overrides: OVERRIDES = None,
    as_json: AS_JSON = False,
) -> None:
    """Grade a run's answers, or answers from anywhere (those by rubric). --set takes judge.… settings.

    Examples:

      raglift grade runs/ml-qa-ko

      raglift grade runs/ml-qa-ko --grader judge --set judge.url=http://localhost:8000/v1 --set judge.model=qwen3

      raglift grade --answers mine.jsonl --questions ml-qa-ko --out grades.jsonl

      raglift grade runs/ml-qa-ko --explain --question seen-13
    """
    if question is not None and not explain:
        raise InputError("grade --question", "no --explain", "--explain --question ID")
    if explain:
        explain_grades(run_dir, answers, questions, question, as_json)
        return
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


def explain_grades(
    run_dir: Path | None, answers: Path | None, questions: str | None, question: str | None, as_json: bool
) -> None:
    """Print what each requirement found in the answers of a run or of a file."""
    from raglift.answering import read_answers
    from raglift.datasets import load_questions
    from raglift.experiment import reopen_run
    from raglift.grading.explaining import explain_answers, explain_file, explanation_as_json, format_explanation
    from raglift.grading.rubric import RubricGrader

    if run_dir is not None:
        opened = reopen_run(run_dir)
        asked, passages = opened.experiment.questions, opened.experiment.passages
        given = read_answers(opened.folder, opened.plan())
        found = explain_answers(given, asked, RubricGrader(passages), question)
    elif answers is not None and questions is not None:
        listed, known = load_questions(questions)
        found = explain_file(answers, listed, RubricGrader(known), question)
    else:
        raise InputError("grade --explain", "no RUN_DIR", "RUN_DIR, or --answers and --questions")
    if as_json:
        print_json({"explanations": [explanation_as_json(one) for one in found]})
    else:
        typer.echo("\n\n".join(format_explanation(one) for one in found))


def grade_run_folder(run_dir: Path, grader: str | None, overrides: list[str]) -> None:
    """Grade a run with its own grader or the named one."""
    from raglift.experiment import grade_answers
    from raglift.grading.graders import GRADERS

    if grader is not None and grader not in GRADERS:
        fix = f"raglift review {run_dir}: people grade there" if grader == "human" else suggest_name(grader, GRADERS)
        raise InputError(f"--grader {grader}", "no such grader", " or ".join(GRADERS), fix)
    opened = run_stage(run_dir, lambda run: grade_answers(run, grader), overrides)
    typer.echo(f"grades: {opened.folder.grades(grader or opened.config.grader)}")


rubric_app = typer.Typer(no_args_is_help=True, help="Work on rubrics.")
app.add_typer(rubric_app, name="rubric")


@rubric_app.command("draft")
def draft_rubric(
    experiment: EXPERIMENT,
    question: Annotated[str | None, typer.Option(metavar="ID", help="One question [default: all].")] = None,
) -> None:
    """Propose rubrics from question, passage and reference, as JSON; an author adds wordings and mistakes.

    Example: raglift rubric draft my-experiment --question q7
    """
    from raglift.datasets import find_experiment
    from raglift.grading.draft import draft_rubrics

    drafts = draft_rubrics(find_experiment(experiment), question)
    print_json(drafts if question is None else drafts[question])


@app.command()
def review(  # noqa: PLR0913, PLR0917  an option each for who, what and where
    run_dir: RUN_DIR,
    reviewer: Annotated[str, typer.Option(metavar="NAME", help="Who grades [default: your user name].")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Every arm and split, not only what is compared.")] = False,
    sample: Annotated[bool, typer.Option("--sample", help="A random part of it, as many as needed.")] = False,
    labels: Annotated[int | None, typer.Option(min=1, help="Answers in the sample.")] = None,
    export: Annotated[Path | None, typer.Option(metavar="F.csv", help="Write a table for spreadsheets.")] = None,
    import_from: Annotated[Path | None, typer.Option("--import", metavar="F.csv", help="Read it back.")] = None,
    language: Annotated[str | None, typer.Option(help="ko or en [default: the report's].")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
) -> None:
    """Grade answers by hand, blind, in a local web page; saved at once, resumed by the same command.

    Examples:

      raglift review runs/ml-qa-ko --reviewer kim

      raglift review runs/ml-qa-ko --reviewer lee --export lee.csv
    """
    from raglift.grading.review import ReviewChoice, describe_end, exchange_tables, open_review, read_run, serve_review

    if language not in (None, "ko", "en"):
        raise InputError("--language", repr(language), "ko or en")
    if (everything and sample) or (labels is not None and not sample):
        found = "--all and --sample" if everything and sample else "--labels without --sample"
        raise InputError("review", found, "--all, or --sample with or without --labels, or neither")
    opened = read_run(run_dir)
    choice = ReviewChoice(reviewer, "sample" if sample else "all" if everything else "compared", labels)
    reviewed = open_review(opened, choice)
    if export is not None or import_from is not None:
        for line in exchange_tables(reviewed, export, import_from):
            typer.echo(line)
        return
    serve_review(reviewed, language or opened.config.report.language, port, typer.echo)
    typer.echo(describe_end(opened.folder, reviewed, ["raglift", *sys.argv[1:]]))


@app.command()
def agree(
    run_dir: RUN_DIR,
    graders: Annotated[str | None, typer.Option(help="Comma separated [default: all that graded].")] = None,
    as_json: AS_JSON = False,
) -> None:
    """Tell how far the graders of a run agree, and list the answers on which they differ.

    Example: raglift agree runs/ml-qa-ko --graders rubric,human
    """
    from raglift.agreement import agree_graders, format_agreement, locate_agreement
    from raglift.grading.review import read_run

    opened = read_run(run_dir)
    names = None if graders is None else [name.strip() for name in graders.split(",") if name.strip()]
    result = agree_graders(opened.folder, opened.experiment, opened.config, names)
    if as_json:
        print_json(result)
    else:
        typer.echo(f"{format_agreement(result)}\nagreement: {locate_agreement(opened.folder)}")


@app.command()
def draw(
    run_dir: RUN_DIR,
    labels: Annotated[int | None, typer.Option(min=1, help="How many [default: as many as are needed].")] = None,
    as_json: AS_JSON = False,
) -> None:
    """Draw the random part of the headline's answers that people should grade, to correct the lift by it.

    Example: raglift draw runs/ml-qa-ko --labels 60
    """
    from raglift.correction import draw_answers, format_draw
    from raglift.grading.review import read_run

    opened = read_run(run_dir)
    drawn = draw_answers(opened.folder, opened.experiment, opened.config, labels)
    if as_json:
        print_json(drawn)
    else:
        typer.echo(format_draw(drawn, str(run_dir)))


@app.command()
def compare(
    run_dir: Annotated[Path | None, typer.Argument(help="A run folder.")] = None,
    other_run: Annotated[Path | None, typer.Argument(help="A second run folder, compared with the first.")] = None,
    a: Annotated[str | None, typer.Option("--a", help="An arm, or with --table a prefix.")] = None,
    b: Annotated[str | None, typer.Option("--b", help="The arm (or prefix) that is compared with it.")] = None,
    table: Annotated[Path | None, typer.Option(help="A CSV: question,PREFIX_correct,PREFIX_total,…")] = None,
    as_json: AS_JSON = False,
) -> None:
    """Compare two arms question by question.

    Examples:

      raglift compare runs/ml-qa-ko --a base.oracle --b rag-sft.oracle

      raglift compare runs/five-epochs runs/twenty-epochs --a rag-sft.oracle --b rag-sft.oracle

      raglift compare --table results.csv --a without_rag --b with_rag
    """
    if table is not None:
        from raglift.comparison import compare_table

        if a is None or b is None:
            raise InputError("compare --table", "no --a or no --b", "the two column prefixes")
        result, language = compare_table(table, a, b), "en"
    elif run_dir is not None:
        result, language = compare_run_folders(run_dir, other_run, a, b)
    else:
        raise InputError("compare", "neither RUN_DIR nor --table", "one of them")
    if as_json:
        print_json(result)
        return
    from raglift.report.summary import print_summary

    print_summary(result, language)


def compare_run_folders(
    run_dir: Path, other_run: Path | None, a: str | None, b: str | None
) -> tuple[dict[str, Any], str]:
    """The run's own comparison, another pair of its arms, or an arm of two runs; and the report's language."""
    from raglift.experiment import compare_arms, read_comparison, read_comparison_of_two, reopen_run

    opened = reopen_run(run_dir)
    language = opened.config.report.language
    if other_run is not None:
        return read_comparison_of_two(opened, reopen_run(other_run), a, b), language
    if a is None and b is None:
        return compare_arms(opened), language
    pair = {key: value for key, value in (("a", a), ("b", b)) if value is not None}
    compared = opened.config.compare.model_copy(update=pair)
    return read_comparison(opened, opened.config.model_copy(update={"compare": compared})), language


@app.command()
def report(run_dir: RUN_DIR) -> None:
    """Write the report of a compared run. Example: raglift report runs/ml-qa-ko"""
    from raglift.experiment import report_run

    opened = run_stage(run_dir, report_run)
    typer.echo(f"report: {opened.folder.report('html')}")


@app.command()
def retrieve(
    experiment: EXPERIMENT,
    question: Annotated[str | None, typer.Argument(help="The question; not with --all.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many passages.")] = 3,
    every: Annotated[bool, typer.Option("--all", help="Hit rates over every question of the experiment.")] = False,
    run_dir: Annotated[Path | None, typer.Option("--run", help="Run folder [default: runs/<experiment>/].")] = None,
    overrides: OVERRIDES = None,
    as_json: AS_JSON = False,
) -> None:
    """Search the passages, or measure the search over all questions.

    Examples:

      raglift retrieve ml-qa-ko "재현율이 뭐야?"

      raglift retrieve ml-qa-ko --all --json
    """
    from raglift.experiment import open_search
    from raglift.retrieval.evaluation import evaluate_retriever

    if every == (question is not None):
        raise InputError("retrieve", "a question and --all" if every else "no question", "a QUESTION or --all")
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
                    typer.echo(f"{name.replace('_', ' '):<24} {value}")
        return
    passages = resolver.experiment.passage_by_id
    found = [
        {"passage_id": row.passage_id, "score": round(row.score, 6), "text": passages[row.passage_id].text}
        for row in retriever.search([question], k)[0]
    ]
    if as_json:
        print_json({"question": question, "passages": found})
    elif not found:
        typer.echo("nothing found: no passage reaches the threshold")
    else:
        for row in found:
            typer.echo(f"{row['score']:.3f}  {row['passage_id']}\n       {row['text']}")


@app.command("tune-retriever")
def tune_retriever(
    experiment: EXPERIMENT,
    run_dir: Annotated[Path | None, typer.Option("--run", help="Run folder [default: runs/<experiment>/].")] = None,
    overrides: OVERRIDES = None,
    as_json: AS_JSON = False,
) -> None:
    """Train the search on the experiment's own pairs; kept only if it finds more of what it was not trained on.

    Example: raglift tune-retriever ml-qa-ko
    """
    from raglift.experiment import open_search
    from raglift.retrieval.tuning import describe_tuning

    resolver = open_search(experiment, run_dir, overrides or [])
    with resolver.folder.hold_lock():
        tuned = resolver.tune_retriever()
    if as_json:
        print_json({**tuned.figures, "threshold": tuned.threshold, "weight": tuned.weight})
    else:
        typer.echo(f"{describe_tuning(tuned)}\nretriever: {resolver.folder.retriever}")


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


@app.command()
def ask(
    run_dir: RUN_DIR,
    question: Annotated[str | None, typer.Argument(help="The question; without one, a conversation begins.")] = None,
    arm: Annotated[str | None, typer.Option(help="The arm to ask [default: the headline's second].")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="A second arm beside it.")] = False,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Passages a question.")] = None,
    as_json: AS_JSON = False,
) -> None:
    """Ask a run's model a question of your own; its passages are searched as in the run.

    Examples:

      raglift ask runs/ml-qa-ko "재현율이 뭐야?" --compare

      raglift ask runs/ml-qa-ko --arm sft.none
    """
    from raglift.ask import Asker
    from raglift.dialogue import Dialogue, answer_as_json, answer_in_terminal, hold_conversation
    from raglift.experiment import reopen_run

    if question is None and as_json:
        raise InputError("ask --json", "no question", 'raglift ask RUN_DIR "a question" --json')
    opened = reopen_run(run_dir)
    asker = Asker(opened.experiment, opened.config, opened.contexts, opened.models)
    dialogue = Dialogue(asker, asker.choose_arm(arm), compare, k)
    if question is None:
        hold_conversation(dialogue)
    elif as_json:
        print_json(answer_as_json(dialogue, question))
    else:
        answer_in_terminal(dialogue, question)


@app.command()
def serve(
    run_dir: RUN_DIR,
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than this machine need a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable that holds the API key.")
    ] = None,
    rate: Annotated[int, typer.Option(min=0, help="Requests a minute for each client, 0: no limit.")] = 1200,
    queue: Annotated[int, typer.Option(min=1, help="Answers that may wait; beyond, requests get status 429.")] = 256,
) -> None:
    """Serve a run's arms to OpenAI clients, with a web page to chat on.

    Example: raglift serve runs/ml-qa-ko
    """
    from raglift.ask import Asker
    from raglift.experiment import reopen_run
    from raglift.serve.server import ServerOptions, serve_run

    options = ServerOptions(host, port, api_key_env, rate, queue)
    opened = reopen_run(run_dir)
    serve_run(Asker(opened.experiment, opened.config, opened.contexts, opened.models), opened.folder, options)


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
    raise Interruption


def main() -> None:
    """The entry point: exit status 0 done, 1 the run failed, 2 the user's input is wrong."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_politely)
    try:
        app()
    except RagliftError as error:
        if debug:
            traceback.print_exc()
        say(f"error: {error}")
        sys.exit(error.exit_status)
    except Interruption:
        say("stopped; what is finished is kept. To go on, give the same command again: " + " ".join(sys.argv))
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        say(f"error: {type(error).__name__}: {error}\n  to do: run it again with --debug for the traceback")
        sys.exit(1)
