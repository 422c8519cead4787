"""A reviewer's items as CSV for spreadsheets, and back: checked whole before anything is written."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from raglift.errors import InputError
from raglift.grading.review_state import LONGEST_NOTE, Review, clean_note
from raglift.records import Verdict
from raglift.runfolder import write_atomically
from raglift.sanitization import clean_cell

COLUMNS = ("key", "question", "reference", "passage", "answer", "verdict", "note")
WORDS: dict[str, Verdict] = {
    "correct": "correct",
    "incorrect": "incorrect",
    "unscored": "unscored",
    "맞음": "correct",
    "틀림": "incorrect",
    "보류": "unscored",
}


@dataclass(frozen=True)
class TableRow:
    """A checked line of the table; `verdict` is None where its cell is blank."""

    line: int
    item: str
    verdict: Verdict | None
    note: str


def export_table(review: Review, file: Path) -> int:
    """Write the reviewer's items in their blind order; returns how many. Cells never run as formulas."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for item in review.items.values():
        state = review.state(item.id)
        question = item.question
        texts = (question.question, question.reference, item.passage, item.text)
        verdict = state.verdict if state.decided else ""
        writer.writerow([item.keys[0], *map(clean_cell, texts), verdict, clean_cell(state.note)])
    write_atomically(file, "\ufeff" + stream.getvalue())  # the mark makes spreadsheets read it as UTF-8
    return len(review.items)


def import_table(review: Review, file: Path) -> int:
    """Save what differs from the reviewer's present verdicts and notes; returns how many items changed.

    A blank verdict leaves the verdict as it is; `unscored` withdraws it. Raises InputError naming file:line for
    unknown keys, other words, or two lines that say different things of one item; then nothing is written.
    """
    rows: dict[str, TableRow] = {}
    for row in read_rows(review, file):
        earlier = rows.setdefault(row.item, row)
        if (earlier.verdict, earlier.note) != (row.verdict, row.note):
            raise InputError(
                f"{file}:{row.line}",
                f"another verdict or note than line {earlier.line} gives the same answer",
                "one verdict for identical answers to one question",
            )
    changes = []
    for row in rows.values():
        state = review.state(row.item)
        verdict = state.verdict if row.verdict is None else row.verdict
        note = state.note if clean_cell(state.note) == clean_cell(row.note) else row.note
        if (verdict, note) != (state.verdict, state.note):
            changes.append((row.item, verdict, note))
    review.write_table(changes)
    return len(changes)


def read_rows(review: Review, file: Path) -> Iterator[TableRow]:
    """Each line of the table, checked. InputError for the first that is wrong."""
    for line, row in _read_cells(file):
        key, word = row["key"].strip(), row["verdict"].strip().casefold()
        item = review.find_item(key)
        if item is None:
            raise InputError(
                f"{file}:{line}: key",
                f"'{key[:80]}' is no answer under review",
                "a key that --export wrote",
                "give --all or --sample as at the export, or leave the line out",
            )
        if word and word not in WORDS:
            raise InputError(
                f"{file}:{line}: verdict", repr(row["verdict"][:40]), "blank or one of " + ", ".join(WORDS)
            )
        note = clean_note(_strip_quote(row["note"]))
        if len(note) > LONGEST_NOTE:
            raise InputError(f"{file}:{line}: note", f"{len(note)} characters", f"at most {LONGEST_NOTE}")
        yield TableRow(line, item.id, WORDS[word] if word else None, note)


def _strip_quote(cell: str) -> str:
    """Undo the quote that `clean_cell` puts before a formula's sign."""
    return cell[1:] if cell.startswith("'") and clean_cell(cell[1:]) == cell else cell


def _read_cells(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = reader.fieldnames or ()
            for name in ("key", "verdict", "note"):
                if name not in header:
                    raise InputError(
                        f"{file}:1", f"no column '{name}'", "columns " + ", ".join(COLUMNS), "separate by commas"
                    )
            for row in reader:
                if None in row or None in row.values():
                    raise InputError(f"{file}:{reader.line_num}", "more or fewer cells than the header", "one for each")
                yield reader.line_num, row
    except FileNotFoundError:
        raise InputError(str(file), "no such file", "a CSV table that --export wrote") from None
    except UnicodeDecodeError:
        raise InputError(str(file), "not UTF-8", "UTF-8", "save it as 'CSV UTF-8' in the spreadsheet") from None
    except (OSError, csv.Error) as error:
        raise InputError(str(file), f"cannot be read ({error})", "a UTF-8 CSV table") from None
