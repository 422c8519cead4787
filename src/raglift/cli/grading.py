"""Grades and graders: grade, rubrics, review by hand, agreement."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from raglift.cli.options import AS_JSON, EXPERIMENT, OVERRIDES, RUN_DIR, app, print_json, run_stage, show
from raglift.errors import InputError, suggest_name
from raglift.sanitization import quote_command


@app.command()
def grade(  # noqa: PLR0913, PLR0917  an option each for what, by whom and where to
    run_dir: Annotated[str | None, typer.Argument(help="A run folder or its address.")] = None,
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
    """Grade a run's answers, or answers from anywhere (by rubric, or by --grader judge). --set takes judge.… settings.

    Examples:

      raglift grade runs/ml-qa-ko

      raglift grade runs/ml-qa-ko --grader judge --set judge.url=http://localhost:8000/v1 --set judge.model=qwen3

      raglift grade --answers mine.jsonl --questions ml-qa-ko --out grades.jsonl

      raglift grade --answers mine.jsonl --questions ml-qa-ko --out judged.jsonl --grader judge --set judge.model=qwen3
      --set judge.url=http://localhost:8000/v1

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
    from raglift.grading.graders import open_file_grader
    from raglift.grading.grades import grade_file

    check_grader(grader, "raglift review RUN_DIR: people grade a run's answers")
    opened, experiment = open_file_grader(grader or "rubric", questions, overrides or [], out)
    counts = grade_file(answers, experiment.questions, opened, out)
    if as_json:
        print_json({**counts, "out": str(out)})
    else:
        show(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
        show(f"grades: {out}")


def explain_grades(
    run_dir: str | None, answers: Path | None, questions: str | None, question: str | None, as_json: bool
) -> None:
    """Print what each requirement found in the answers of a run or of a file."""
    from raglift.answers import read_answers
    from raglift.datasets import load_questions
    from raglift.experiment import reopen_run
    from raglift.grading.explaining import explain_answers, explain_file, explanation_as_json, format_explanation
    from raglift.grading.rubric import RubricGrader

    if run_dir is not None:
        opened = reopen_run(run_dir, stage="grade")
        asked, passages = opened.experiment.questions, opened.experiment.passages
        given = read_answers(opened.folder, opened.list_keys())
        found = explain_answers(given, asked, RubricGrader(passages), question)
    elif answers is not None and questions is not None:
        listed, known = load_questions(questions)
        found = explain_file(answers, listed, RubricGrader(known), question)
    else:
        raise InputError("grade --explain", "no RUN_DIR", "RUN_DIR, or --answers and --questions")
    if as_json:
        print_json({"explanations": [explanation_as_json(one) for one in found]})
    else:
        show("\n\n".join(format_explanation(one) for one in found))


def grade_run_folder(run_dir: str, grader: str | None, overrides: list[str]) -> None:
    """Grade a run with its own grader or the named one."""
    from raglift.experiment import grade_answers

    check_grader(grader, quote_command("raglift", "review", run_dir) + ": people grade there")
    opened = run_stage(run_dir, "grade", lambda run: grade_answers(run, grader), overrides)
    show(f"grades: {opened.folder.locate(opened.folder.grades(grader or opened.config.grader))}")


def check_grader(grader: str | None, by_people: str) -> None:
    """InputError for a name that is no grader's; `by_people` is what to do for grades by people."""
    from raglift.grading.graders import GRADERS

    if grader is not None and grader not in GRADERS:
        fix = by_people if grader == "human" else suggest_name(grader, GRADERS)
        raise InputError(f"--grader {grader}", "no such grader", " or ".join(GRADERS), fix)


rubric_app = typer.Typer(no_args_is_help=True, help="Work on rubrics.")
app.add_typer(rubric_app, name="rubric")


@rubric_app.command("draft")
def draft_rubric(
    experiment: EXPERIMENT,
    question: Annotated[str | None, typer.Option(metavar="ID", help="One question [default: all].")] = None,
    write: Annotated[bool, typer.Option("--write", help="Into questions.jsonl, where a rubric is missing.")] = False,
) -> None:
    """Propose rubrics from question, passage and reference, as JSON; an author adds wordings and mistakes.

    Examples:

      raglift rubric draft my-experiment --question q7

      raglift rubric draft my-experiment --write
    """
    from raglift.datasets import find_experiment
    from raglift.grading.draft import draft_rubrics, write_missing_rubrics

    if write:
        folder = find_experiment(experiment)
        drafted = write_missing_rubrics(folder, question)
        show(f"{drafted} rubrics drafted, marked as draft: {folder / 'questions.jsonl'}")
        return
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
    from raglift.grading.review import ReviewChoice, describe_end, exchange_tables, open_review, serve_review
    from raglift.storedrun import read_run

    if language not in (None, "ko", "en"):
        raise InputError("--language", repr(language), "ko or en")
    if (everything and sample) or (labels is not None and not sample):
        found = "--all and --sample" if everything and sample else "--labels without --sample"
        raise InputError("review", found, "--all, or --sample with or without --labels, or neither")
    opened = read_run(run_dir, "compare")
    choice = ReviewChoice(reviewer, "sample" if sample else "all" if everything else "compared", labels)
    reviewed = open_review(opened, choice)
    if export is not None or import_from is not None:
        for line in exchange_tables(reviewed, export, import_from):
            show(line)
        opened.folder.put()
        return
    serve_review(reviewed, language or opened.config.report.language, port, show)
    opened.folder.put()
    show(describe_end(opened.folder, reviewed, ["raglift", *sys.argv[1:]]))


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
    from raglift.storedrun import read_run

    opened = read_run(run_dir, "compare")
    names = None if graders is None else [name.strip() for name in graders.split(",") if name.strip()]
    result = agree_graders(opened.folder, opened.experiment, opened.config, names)
    opened.folder.put()
    if as_json:
        print_json(result)
    else:
        show(f"{format_agreement(result)}\nagreement: {opened.folder.locate(locate_agreement(opened.folder))}")


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
    from raglift.storedrun import read_run

    opened = read_run(run_dir, "compare")
    drawn = draw_answers(opened.folder, opened.experiment, opened.config, labels)
    opened.folder.put()
    if as_json:
        print_json(drawn)
    else:
        show(format_draw(drawn, run_dir))
