"""`compare` for results from elsewhere: a CSV table of counts, or two files of graded answers."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from raglift.comparison import describe_comparison, round_numbers
from raglift.datasets import read_jsonl
from raglift.errors import InputError, suggest_name
from raglift.records import Verdict
from raglift.statistics.comparison import compare_paired

Row = Mapping[str | None, Any]  # cells beyond the header lie under None
_WHOLE = re.compile(r"-?[0-9]{1,9}", re.ASCII)


def compare_grades(
    file_a: Path, file_b: Path, names: tuple[str, str] | None = None, margin: float = 5.0
) -> dict[str, Any]:
    """Compare two files that `raglift grade --answers … --out …` wrote, over the same questions.

    Raises InputError naming file and line for rows that are no grades, and for questions that only one file has.
    """
    a, b = read_verdicts(file_a), read_verdicts(file_b)
    for file, mine, other in ((file_a, a, b), (file_b, b, a)):
        missing = sorted(other.keys() - mine.keys())
        if missing:
            raise InputError(
                str(file),
                f"no answer to {len(missing)} question(s) of the other file: {', '.join(missing[:8])}",
                "the same questions in both files",
                "answer and grade them, or leave them out of the other file",
            )
    ids = list(a)
    counts = [
        np.array([[cells[name]["correct"], cells[name].total() - cells[name]["unscored"]] for name in ids]).T
        for cells in (a, b)
    ]
    comparison = compare_paired(*counts[0], *counts[1], ids=ids, margin=margin)
    unscored = sum(cell["unscored"] for cells in (a, b) for cell in cells.values())
    found = describe_comparison(comparison, *(names or (file_a.stem, file_b.stem)))
    return round_numbers({**found, "unscored": unscored})


def read_verdicts(file: Path) -> dict[str, Counter[str]]:
    """Question id -> how many answers got each verdict, in the file's order; InputError naming file:line."""
    cells: dict[str, Counter[str]] = {}
    for line, row in read_jsonl(file):
        name, verdict = row.get("question_id"), row.get("verdict")
        if not isinstance(name, str) or not name:
            raise InputError(f"{file}:{line}: question_id", repr(name), "a question's id", "raglift grade writes it")
        if not isinstance(verdict, str) or verdict not in get_args(Verdict):
            raise InputError(f"{file}:{line}: verdict", repr(verdict), "correct, incorrect or unscored")
        cells.setdefault(name, Counter())[verdict] += 1
    if not cells:
        raise InputError(str(file), "no grades", "one a line, as raglift grade --answers … --out … writes them")
    return cells


def compare_table(file: Path, prefix_a: str, prefix_b: str, margin: float = 5.0) -> dict[str, Any]:
    """Compare two arms of a table of counts, in the form of `comparison.json`.

    Raises InputError naming file and line for missing columns, counts that cannot be, blank or repeated questions.
    """
    if prefix_a == prefix_b:
        raise InputError("--a and --b", f"'{prefix_a}' twice", "two prefixes that differ")
    columns = {side: (f"{prefix}_correct", f"{prefix}_total") for side, prefix in (("a", prefix_a), ("b", prefix_b))}
    seen: dict[str, int] = {}
    counts: dict[str, list[tuple[int, int]]] = {"a": [], "b": []}
    for line, row in read_table(file, ["question", *columns["a"], *columns["b"]]):
        where = f"{file}:{line}"
        if None in row:
            raise InputError(where, f"more cells than the header has: {row[None]}", "a cell for each column")
        question = (row["question"] or "").strip()
        if not question:
            raise InputError(f"{where}: question", "blank", "the question's text")
        if question in seen:
            found = f"'{question[:60]}' again, first in line {seen[question]}"
            raise InputError(f"{where}: question", found, "each question once")
        seen[question] = line
        for side, names in columns.items():
            counts[side].append(_read_counts_of(row, names, where))
    if not seen:
        raise InputError(str(file), "no rows", "one row a question")
    a, b = (np.array(counts[side], dtype=int).T for side in ("a", "b"))
    comparison = compare_paired(a[0], a[1], b[0], b[1], ids=list(seen), margin=margin)
    return round_numbers(describe_comparison(comparison, prefix_a, prefix_b))


def read_table(file: Path, needed: Sequence[str]) -> list[tuple[int, Row]]:
    """(line number, row) of a CSV with a header; InputError when it cannot be read or lacks columns."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = list(reader.fieldnames or ())
            rows: list[tuple[int, Row]] = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise InputError(str(file), "no such file", "a CSV table") from None
    except IsADirectoryError:
        raise InputError(str(file), "a folder", "a CSV table") from None
    except UnicodeDecodeError as error:
        fix = "save it as UTF-8; for a Korean Windows table: iconv -f cp949 -t utf-8 OLD.csv > NEW.csv"
        raise InputError(str(file), f"not UTF-8 text ({error})", "a UTF-8 CSV table", fix) from None
    except (OSError, csv.Error) as error:
        raise InputError(str(file), f"cannot be read ({error})", "a UTF-8 CSV table") from None
    _check_header(file, header, needed)
    return rows


def _check_header(file: Path, header: list[str], needed: Sequence[str]) -> None:
    expected = "columns " + ", ".join(needed)
    if not header:
        raise InputError(str(file), "empty", expected)
    for name in needed:
        if name not in header:
            prefixes = sorted({column.removesuffix("_correct") for column in header if column.endswith("_correct")})
            fix = f"prefixes in this table: {', '.join(prefixes) or 'none'}; {suggest_name(name, header)}"
            raise InputError(f"{file}:1", f"no column '{name}'", expected, fix)
    twice = [name for name, times in Counter(header).items() if times > 1 and name in needed]
    if twice:
        raise InputError(f"{file}:1", f"column '{twice[0]}' more than once", "each column once")


def _read_counts_of(row: Row, names: tuple[str, str], where: str) -> tuple[int, int]:
    values = []
    for name in names:
        text = (row[name] or "").strip()
        if not _WHOLE.fullmatch(text):
            raise InputError(f"{where}: {name}", f"'{text}'" if text else "nothing", "a whole number below a billion")
        values.append(int(text))
    correct, total = values
    if not 0 <= correct <= total:
        raise InputError(f"{where}: {names[0]}", f"{correct} of {total}", "0 <= correct <= total")
    return correct, total
