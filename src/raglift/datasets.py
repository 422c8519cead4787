"""The files of an experiment folder in and out: JSONL with an error per line, checked against each other."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from raglift.errors import InputError, suggest_name
from raglift.records import SPLITS, Counterfactual, Example, Experiment, Passage, Question, Rubric, Split

BUNDLED = ("ml-qa-ko",)
EXPERIMENT_FILES = ("experiment.yaml", "passages.jsonl", "train.jsonl", "questions.jsonl")
_HALF = re.compile("[\ud800-\udfff]")  # JSON escapes can spell it, no tokenizer can read it
QUESTION_KEYS = {"id", "question", "passage_id", "split", "reference", "rubric", "counterfactual"}
FILL_IN = "<fill in: "  # begins every text of a template row that `init` leaves to the user
RUBRIC_KEYS = {"must", "must_not", "pass", "fail", "draft"}


def find_experiment(name_or_folder: str) -> Path:
    """The folder of an experiment: a path, or the name of a bundled one. InputError where it is neither."""
    folder = Path(name_or_folder)
    if (folder / "experiment.yaml").is_file():
        return folder
    if name_or_folder in BUNDLED:
        return Path(str(files("raglift") / "data" / name_or_folder))
    found = "a folder without experiment.yaml" if folder.is_dir() else "no such folder"
    raise InputError(
        f"experiment '{name_or_folder}'",
        found,
        "a folder with experiment.yaml or a bundled name: " + ", ".join(BUNDLED),
        "raglift init DIR makes one",
    )


def load_experiment(folder: Path, name: str) -> Experiment:
    """Read passages, examples and questions, each line checked, then checked against each other.

    Raises InputError naming file and line for the first problem.
    """
    passages = _read_records(folder / "passages.jsonl", parse_passage)
    examples = _read_records(folder / "train.jsonl", parse_example)
    questions = _read_records(folder / "questions.jsonl", parse_question)
    experiment = Experiment(name, str(folder), tuple(passages), tuple(examples), tuple(questions))
    _check_references(folder, experiment)
    return experiment


def load_searchable(folder: Path, name: str) -> Experiment:
    """What searching needs: passages, training pairs and questions, without rubrics or references.

    Raises InputError naming file and line; a question's passage must be among the passages.
    """
    train = folder / "train.jsonl"
    experiment = Experiment(
        name,
        str(folder),
        tuple(_read_records(folder / "passages.jsonl", parse_passage)),
        tuple(_read_records(train, parse_example)) if train.exists() else (),
        tuple(_read_records(folder / "questions.jsonl", parse_searched_question)),
    )
    _check_passage_ids(folder, experiment)
    return experiment


def parse_searched_question(row: dict[str, Any], where: str) -> Question:
    """A question as far as a search needs it."""
    passage_id = None if row.get("passage_id") is None else _read_text(row, "passage_id", where)
    split: Split = "absent" if passage_id is None else "unseen"
    return Question(_read_text(row, "id", where), _read_text(row, "question", where), passage_id, split, "", Rubric(()))


def load_questions(source: str) -> tuple[list[Question], list[Passage]]:
    """Questions (and passages, where known) of an experiment or of a questions.jsonl alone."""
    file = Path(source)
    if file.is_file():
        return _read_records(file, parse_question), []
    folder = find_experiment(source)
    return (
        _read_records(folder / "questions.jsonl", parse_question),
        _read_records(folder / "passages.jsonl", parse_passage),
    )


def read_passages(folder: Path) -> list[Passage]:
    """The passages of an experiment folder."""
    return list(_read_records(folder / "passages.jsonl", parse_passage))


def copy_experiment(source: str, folder: Path) -> None:
    """A new experiment folder with the files of another; InputError when something lies there already."""
    check_new_folder(folder)
    origin = find_experiment(source)
    contents = {name: (origin / name).read_text(encoding="utf-8") for name in EXPERIMENT_FILES}
    # The new experiment goes by its own folder's name, and so does its run folder.
    contents["experiment.yaml"] = re.sub(r"(?m)^name:.*\n", "", contents["experiment.yaml"])
    write_new_folder(folder, contents)


def check_new_folder(folder: Path) -> None:
    """InputError when something lies where a new experiment shall be."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(str(folder), "something is there already", "a new or empty folder", "choose another name")


def write_new_folder(folder: Path, contents: Mapping[str, str]) -> None:
    """Write files into a folder that is not there yet or empty; it appears whole or not at all.

    Raises InputError when something lies there, or when it cannot be written.
    """
    check_new_folder(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            whole = Path(temporary) / "experiment"
            whole.mkdir()
            for name, content in contents.items():
                (whole / name).write_text(content, encoding="utf-8", newline="")
            whole.replace(folder)  # an empty folder gives way, one that was filled meanwhile does not
    except OSError as error:
        raise InputError(str(folder), f"cannot be written ({error.strerror})", "a folder that can be written") from None


def read_jsonl(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) for each line that is not blank; InputError names file:line."""
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _parse_line(line, f"{file}:{number}")
    except FileNotFoundError:
        raise InputError(str(file), "no such file", "a JSONL file") from None
    except UnicodeDecodeError as error:
        raise InputError(str(file), f"not UTF-8 ({error.reason})", "UTF-8 text", "save it as UTF-8") from None
    except OSError as error:
        raise InputError(str(file), f"cannot be read ({error.strerror})", "a JSONL file") from None


def dump_line(row: dict[str, Any]) -> str:
    """One JSONL line. Lone surrogates cannot be UTF-8, so they are written as JSON escapes."""
    line = json.dumps(row, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(row)
    return line + "\n"


def parse_passage(row: dict[str, Any], where: str) -> Passage:
    _check_keys(row, {"id", "text"}, where)
    return Passage(_read_text(row, "id", where), _read_text(row, "text", where))


def parse_example(row: dict[str, Any], where: str) -> Example:
    _check_keys(row, {"question", "answer", "passage_id"}, where)
    return Example(*(_read_text(row, key, where) for key in ("question", "answer", "passage_id")))


def parse_question(row: dict[str, Any], where: str) -> Question:
    """One evaluation item; the rubric may be a draft but not empty. InputError for the first field that is wrong."""
    _check_keys(row, QUESTION_KEYS, where)
    split = _read_text(row, "split", where)
    if split not in SPLITS:
        raise InputError(f"{where}: split", repr(split), "one of " + ", ".join(SPLITS), suggest_name(split, SPLITS))
    passage_id = row.get("passage_id")
    if (passage_id is None) != (split == "absent"):
        expected = "null" if split == "absent" else "the id of the passage that answers it"
        raise InputError(f"{where}: passage_id", repr(passage_id), f"{expected} (split is {split})")
    counterfactual = row.get("counterfactual")
    return Question(
        id=_read_text(row, "id", where),
        question=_read_text(row, "question", where),
        passage_id=None if passage_id is None else _read_text(row, "passage_id", where),
        split=split,  # type: ignore[arg-type]
        reference=_read_text(row, "reference", where),
        rubric=parse_rubric(row.get("rubric"), f"{where}: rubric"),
        counterfactual=None if counterfactual is None else _parse_counterfactual(counterfactual, where),
    )


def parse_rubric(value: Any, where: str) -> Rubric:
    """A rubric from its JSON form; InputError when it is empty or of another shape."""
    if not isinstance(value, dict):
        raise InputError(
            where,
            _describe(value),
            '{"must": [["alternative", ...], ...], "must_not": [...]}',
            "raglift rubric draft EXPERIMENT --write drafts the missing ones",
        )
    _check_keys(value, RUBRIC_KEYS, where)
    must = value.get("must")
    groups_fit = isinstance(must, list) and all(
        isinstance(group, list) and group and all(isinstance(item, str) and item.strip() for item in group)
        for group in must
    )
    if not must or not groups_fit:
        raise InputError(
            f"{where}.must",
            _describe(must),
            "a list of groups, each a list of one or more texts",
            "an empty rubric passes everything; raglift rubric draft proposes one",
        )
    return Rubric(
        must=tuple(tuple(group) for group in must),
        must_not=_read_texts(value, "must_not", where),
        passes=_read_texts(value, "pass", where),
        fails=_read_texts(value, "fail", where),
        draft=bool(value.get("draft", False)),
    )


def normalize_question(text: str) -> str:
    """A question as compared for overlap: NFKC, case folded, letters and digits only."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def find_overlaps(experiment: Experiment) -> list[tuple[Example, Question]]:
    """Training rows whose question is an evaluation question (up to case, spacing and punctuation)."""
    trained = {normalize_question(example.question): example for example in experiment.examples}
    return [
        (trained[key], question)
        for question in experiment.questions
        if (key := normalize_question(question.question)) in trained
    ]


def _read_records(file: Path, parse: Any) -> list[Any]:
    records: list[Any] = []
    seen: dict[str, int] = {}
    for number, row in read_jsonl(file):
        record = parse(row, f"{file}:{number}")
        identifier = str(getattr(record, "id", f"line {number}"))
        if identifier in seen:
            raise InputError(
                f"{file}:{number}", f"id '{identifier}' again (first on line {seen[identifier]})", "ids that differ"
            )
        seen[identifier] = number
        records.append(record)
    if not records:
        raise InputError(str(file), "no rows", "at least one JSON object, one a line")
    return records


def _check_passage_ids(folder: Path, experiment: Experiment) -> None:
    known = experiment.passage_by_id
    rows: Sequence[tuple[str, Sequence[Example | Question]]] = (
        ("train.jsonl", experiment.examples),
        ("questions.jsonl", experiment.questions),
    )
    for name, records in rows:
        for number, record in enumerate(records, start=1):
            if record.passage_id is not None and record.passage_id not in known:
                raise InputError(
                    f"{folder / name}: row {number}: passage_id",
                    f"no passage '{record.passage_id}'",
                    "an id of passages.jsonl",
                    suggest_name(record.passage_id, known),
                )


def _check_references(folder: Path, experiment: Experiment) -> None:
    _check_passage_ids(folder, experiment)
    _check_splits(folder, experiment)
    overlaps = find_overlaps(experiment)
    if overlaps:
        example, question = overlaps[0]
        raise InputError(
            f"{folder / 'questions.jsonl'}: question '{question.id}'",
            f"'{question.question}' is also the training question '{example.question}' ({len(overlaps)} overlap)",
            "evaluation questions that were never trained on",
            "rephrase one of the two",
        )


def _check_splits(folder: Path, experiment: Experiment) -> None:
    trained = {example.passage_id for example in experiment.examples}
    for question in experiment.questions:
        if question.split != "absent" and (question.passage_id in trained) != (question.split == "seen"):
            state = "is" if question.passage_id in trained else "is not"
            raise InputError(
                f"{folder / 'questions.jsonl'}: question '{question.id}'",
                f"split is {question.split}, but its passage '{question.passage_id}' {state} in train.jsonl",
                "seen: its passage is also in the training rows; unseen: it is not",
                "change the split or the training rows",
            )


def _parse_counterfactual(value: Any, where: str) -> Counterfactual:
    where = f"{where}: counterfactual"
    if not isinstance(value, dict):
        raise InputError(where, _describe(value), '{"text": ..., "rubric": {...}}')
    _check_keys(value, {"text", "rubric"}, where)
    return Counterfactual(_read_text(value, "text", where), parse_rubric(value.get("rubric"), f"{where}.rubric"))


def _parse_line(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # ValueError: also numbers of thousands of digits
        raise InputError(where, f"not JSON ({error})", "one JSON object a line") from None
    if not isinstance(row, dict):
        raise InputError(where, _describe(row), "one JSON object a line")
    return row


def _check_keys(row: dict[str, Any], known: set[str], where: str) -> None:
    for key in row:
        if key not in known:
            raise InputError(
                where, f"unknown key '{key}'", "keys " + ", ".join(sorted(known)), suggest_name(key, known)
            )


def _read_text(row: dict[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {key}", _describe(value), "a text that is not empty")
    if value.startswith(FILL_IN):
        raise InputError(
            f"{where}: {key}",
            f"still the template's {value!r}",
            "your own text",
            "this file is a template: write your training rows and questions into it (docs/your-data.md)",
        )
    if _HALF.search(value):
        raise InputError(f"{where}: {key}", "half of a character (a lone surrogate)", "text", "save the file as UTF-8")
    return unicodedata.normalize("NFC", value)


def _read_texts(row: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = row.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{where}.{key}", _describe(value), "a list of texts")
    return tuple(value)


def _describe(value: Any) -> str:
    return "missing" if value is None else f"{type(value).__name__} {str(value)[:80]!r}"
