"""The founding experiment's two CSV files: the same questions and answers, with the retrieved text and without."""

from __future__ import annotations

from pathlib import Path

from raglift.datasets import normalize_question
from raglift.errors import InputError, suggest_name
from raglift.importing.mapping import read_part, read_text
from raglift.importing.rows import ImportedRow, Material, Table, count_rows
from raglift.importing.tables import read_csv

WITH_COLUMNS = ("data_type", "user_question", "rag_retrieved_data", "output_message")
WITHOUT_COLUMNS = ("data_type", "input_data", "output_message")


def read_founding(with_csv: Path | None, without_csv: Path | None, encoding: str | None = None) -> Material:
    """The rows of the file with passages, checked against the file without.

    Raises InputError for a missing file or column.
    """
    if with_csv is None:
        raise InputError(
            "--without-csv", "no --with-csv beside it", "the file with the retrieved texts: passages come from it"
        )
    material = Material(sources=[with_csv.name])
    table = _read(with_csv, WITH_COLUMNS, encoding)
    material.rows = _list_rows(table, "user_question", "rag_retrieved_data")
    material.notices += table.notices
    if without_csv is not None:
        other = _read(without_csv, WITHOUT_COLUMNS, encoding)
        material.sources.append(without_csv.name)
        material.notices += other.notices
        bare = _list_rows(other, "input_data", None)
        material.notices += _compare_files(material.rows, bare, with_csv.name, without_csv.name)
    return material


def _read(file: Path, needed: tuple[str, ...], encoding: str | None) -> Table:
    table = read_csv(file, encoding)
    for column in needed:
        if column not in table.columns:
            raise InputError(
                str(file),
                f"no column '{column}' (there are {', '.join(table.columns)})",
                "the columns " + ", ".join(needed),
                suggest_name(column, table.columns) + " For other layouts: raglift init DIR --data FILE --map …",
            )
    if not table.rows:
        raise InputError(str(file), "no rows", "a row for each question")
    return table


def _list_rows(table: Table, question: str, passage: str | None) -> list[ImportedRow]:
    rows = []
    for row in table.rows:
        part = read_part(read_text(row.values["data_type"]), row.where)
        if part is None:
            raise InputError(f"{row.where}: data_type", "empty", "train or valid")
        text = read_text(row.values[passage]) if passage else ""
        answer = read_text(row.values["output_message"])
        rows.append(ImportedRow(row.where, read_text(row.values[question]), answer, text, part))
    return rows


def _compare_files(rows: list[ImportedRow], bare: list[ImportedRow], name: str, bare_name: str) -> list[str]:
    answers = {(row.part, normalize_question(row.question)): row.answer for row in rows}
    others = {(row.part, normalize_question(row.question)): row.answer for row in bare}
    shared = answers.keys() & others.keys()
    differing = sum(answers[key] != others[key] for key in shared)
    told = [f"{count_rows(len(shared), 'question')} in both files"]
    if len(others) > len(shared):
        told.append(f"{len(others) - len(shared)} only in {bare_name}: left out, they have no passage")
    if len(answers) > len(shared):
        told.append(f"{len(answers) - len(shared)} only in {name}: taken")
    if differing:
        told.append(f"{differing} with another answer in {bare_name}: the answer of {name} is taken for both")
    return ["; ".join(told)]
