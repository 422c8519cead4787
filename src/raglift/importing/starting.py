"""`raglift init`: from what the user names to a new experiment folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raglift.datasets import check_new_folder, copy_experiment, load_experiment
from raglift.errors import InputError
from raglift.importing.building import build_experiment
from raglift.importing.documents import PASSAGE_LENGTH, read_documents
from raglift.importing.founding import read_founding
from raglift.importing.mapping import map_rows, parse_mapping
from raglift.importing.rows import Material
from raglift.importing.tables import read_table
from raglift.importing.writing import NewExperiment, write_built, write_templates
from raglift.sanitization import quote_command


@dataclass(frozen=True)
class Sources:
    """Where a new experiment comes from and how it is read; with nothing named, from the bundled experiment."""

    copied: str | None = None
    with_csv: Path | None = None
    without_csv: Path | None = None
    data: str | None = None
    mapping: tuple[str, ...] = ()
    documents: Path | None = None
    eval_share: float = 0.3
    limit: int | None = None
    encoding: str | None = None
    passage_length: int = PASSAGE_LENGTH


def start_experiment(folder: Path, sources: Sources) -> NewExperiment:
    """Make the folder; nothing is written unless everything can be read.

    Raises InputError for sources that do not go together or cannot be read, and for a folder that holds something.
    """
    check_new_folder(folder)
    check_sources(sources)
    if sources.data is None and sources.with_csv is None and sources.without_csv is None and sources.documents is None:
        return copy_as_new(sources.copied or "ml-qa-ko", folder)
    material = read_sources(sources)
    if not material.rows:
        return write_templates(folder, material)
    return write_built(folder, build_experiment(material, sources.eval_share, sources.limit))


def check_sources(sources: Sources) -> None:
    """One kind of rows at a time; a mapping needs a table. InputError otherwise."""
    founding = sources.with_csv or sources.without_csv
    named = [
        name
        for name, given in (("--from", sources.copied), ("--with-csv", founding), ("--data", sources.data))
        if given is not None
    ]
    if len(named) > 1 or (sources.copied is not None and sources.documents is not None):
        both = " and ".join([*named, *(["--documents"] if sources.documents else [])])
        raise InputError("init", both, "one source of rows; --documents may stand beside --data or --with-csv")
    if sources.mapping and sources.data is None:
        raise InputError("--map", "no table to map", "--data with a file or a dataset beside it")


def read_sources(sources: Sources) -> Material:
    """Rows and documents of everything named."""
    material = Material()
    if sources.with_csv is not None or sources.without_csv is not None:
        material = read_founding(sources.with_csv, sources.without_csv, sources.encoding)
    elif sources.data is not None:
        mapping = parse_mapping(sources.mapping)
        table = read_table(sources.data, sources.encoding)
        material = Material([table.name], map_rows(table, mapping), [], list(table.notices))
    if sources.documents is not None:
        cut = read_documents(sources.documents, sources.passage_length, sources.encoding)
        material.sources += cut.sources
        material.documents += cut.documents
        material.notices += cut.notices
    return material


def copy_as_new(source: str, folder: Path) -> NewExperiment:
    """A copy of an experiment."""
    copy_experiment(source, folder)
    copied = load_experiment(folder, folder.name)
    splits = [question.split for question in copied.questions]
    return NewExperiment(
        folder,
        len(copied.passages),
        len(copied.examples),
        {str(split): splits.count(split) for split in dict.fromkeys(splits)},
        sum(question.rubric.draft for question in copied.questions),
        (f"copied from {source}",),
    )


def describe_new(made: NewExperiment) -> Sequence[str]:
    """What was made and what to do next, line by line."""
    counts = ", ".join(f"{number} {split}" for split, number in made.questions.items())
    lines = [f"- {notice}" for notice in made.notices]
    if made.is_template:
        lines.append(f"{made.passages} passages; train.jsonl and questions.jsonl are templates: write your own rows")
    else:
        lines.append(f"{made.passages} passages, {made.examples} training rows, questions: {counts}")
    lines.append(f"experiment: {made.folder}")
    todo = "fill in train.jsonl and questions.jsonl, then: " if made.is_template else ""
    return [*lines, f"next: {todo}{quote_command('raglift', 'check', made.folder)}"]
