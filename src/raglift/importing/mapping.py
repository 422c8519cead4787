"""A column mapping over a table: which column holds the question, the answer, the passage, the part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from raglift.errors import InputError, suggest_name
from raglift.importing.rows import PARTS, ImportedRow, Part, Table, TableRow, tidy_text

REQUIRED = ("question", "answer", "passage")
FIELDS = (*REQUIRED, "split", "rubric")


def parse_mapping(pairs: Sequence[str]) -> dict[str, str]:
    """`field=column` texts as given to `--map`. InputError for an unknown field, and for one given twice."""
    mapping: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        name = name.strip()
        if not equals or not column.strip():
            raise InputError(f"--map {pair}", "no field=column", "for example --map question=prompt")
        if name not in FIELDS:
            raise InputError(
                f"--map {pair}", f"no field '{name}'", "one of " + ", ".join(FIELDS), suggest_name(name, FIELDS)
            )
        if name in mapping:
            raise InputError(f"--map {pair}", f"'{name}' again", "each field once")
        mapping[name] = column.strip()
    return mapping


def map_rows(table: Table, mapping: Mapping[str, str]) -> list[ImportedRow]:
    """The table's rows as questions; a field that the mapping does not name is the column of its own name.

    A column is a name or a dotted path into nested values (`answers.text`); of a list the first text counts.
    Raises InputError for a column that is not there.
    """
    full = {name: mapping.get(name, name) for name in FIELDS}
    for name, column in full.items():
        if not has_column(table, column):
            if name not in REQUIRED and name not in mapping:
                continue
            raise InputError(
                f"{table.name}: {name}",
                f"no column '{column}' (there are {', '.join(table.columns) or 'none'})",
                f"a column with the {name}",
                f"--map {name}=COLUMN; {suggest_name(column, table.columns)}" if table.columns else "",
            )
    if not table.rows:
        raise InputError(table.name, "no rows", "at least one row for training and one for evaluation")
    return [_map_row(row, full) for row in table.rows]


def has_column(table: Table, column: str) -> bool:
    """Whether the table has the column, or the first part of a dotted path."""
    return column in table.columns or column.partition(".")[0] in table.columns


def pick_value(values: Mapping[str, Any], column: str) -> Any:
    """The value of a column or of a dotted path; None where there is none."""
    if column in values:
        return values[column]
    value: Any = values
    for key in column.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def read_text(value: Any) -> str:
    """A cell as text: of a list its first text, '' for nothing."""
    if isinstance(value, list | tuple):
        value = next((one for one in value if one is not None), None)
    return "" if value is None else tidy_text(str(value))


def read_part(text: str, where: str) -> Part | None:
    """`train` or `eval` from the usual names; InputError for another."""
    if not text:
        return None
    if text.lower() not in PARTS:
        raise InputError(f"{where}: split", repr(text), "one of " + ", ".join(PARTS))
    return PARTS[text.lower()]


def _map_row(row: TableRow, columns: Mapping[str, str]) -> ImportedRow:
    question, answer, passage = (read_text(pick_value(row.values, columns[name])) for name in REQUIRED)
    told = read_text(pick_value(row.values, columns["split"]))
    rubric = _read_rubric(pick_value(row.values, columns["rubric"]), row.where)
    return ImportedRow(row.where, question, answer, passage, read_part(told, row.where) or row.part, rubric)


def _read_rubric(value: Any, where: str) -> dict[str, Any] | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        rubric = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: rubric", f"not JSON ({error})", '{"must": [...]} or nothing') from None
    if not isinstance(rubric, dict):
        raise InputError(f"{where}: rubric", type(rubric).__name__, '{"must": [...]} or nothing')
    return rubric
