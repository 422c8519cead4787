"""Tables by kind of file: CSV, JSONL, Parquet, and Hugging Face datasets; each row keeps its place for errors."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from raglift.datasets import read_jsonl
from raglift.errors import InputError
from raglift.importing.rows import PARTS, Table, TableRow
from raglift.offline import check_hub

DELIMITERS = (",", "\t", ";")
KOREAN = "cp949"
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def read_table(source: str, encoding: str | None = None) -> Table:
    """A table from a file by its ending, or a Hugging Face dataset by its folder or id.

    Raises InputError for a file that is missing, of another kind or malformed, naming file and line.
    """
    path = Path(source)
    if path.is_file():
        read = READERS.get(path.suffix.lower())
        if read is None:
            raise InputError(source, f"the ending '{path.suffix}'", "one of " + ", ".join(READERS), "convert it to CSV")
        return read(path, encoding)
    if path.suffix.lower() in READERS:
        raise InputError(source, "no such file", "a file, or the folder or id of a Hugging Face dataset")
    return read_dataset(source)


def read_csv(file: Path, encoding: str | None = None) -> Table:
    """A CSV file with a header: quoted line breaks, BOM, comma, semicolon or tab.

    InputError for the first broken line.
    """
    text, used = decode_text(file, encoding)
    delimiter = choose_delimiter(text)
    notices = [] if used.startswith("utf-8") else [f"{file.name}: read as {used}"]
    notices += [] if delimiter == "," else [f"{file.name}: columns parted by {delimiter!r}"]
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[TableRow] = []
    columns: tuple[str, ...] = ()
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"{file}:{reader.line_num}"
            if not columns:
                columns = check_columns([cell.strip() for cell in cells], where)
            elif len(cells) != len(columns):
                raise InputError(
                    where,
                    f"{len(cells)} cells",
                    f"{len(columns)}, one for each of {', '.join(columns)}",
                    "put text with commas, quotes or line breaks between double quotes",
                )
            else:
                rows.append(TableRow(where, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        fix = "a quote inside a quoted text is written twice"
        raise InputError(f"{file}:{reader.line_num}", f"no CSV ({error})", "CSV (RFC 4180)", fix) from None
    return Table(file.name, check_columns(columns, str(file)), tuple(rows), tuple(notices))


def read_json_lines(file: Path, encoding: str | None = None) -> Table:
    """A JSONL file: one object a line."""
    rows = tuple(TableRow(f"{file}:{number}", values) for number, values in read_jsonl(file))
    return Table(file.name, list_columns(rows), rows)


def read_json(file: Path, encoding: str | None = None) -> Table:
    """A JSON file that holds one list of objects. InputError where it holds anything else."""
    text, _ = decode_text(file, encoding)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(str(file), f"not JSON ({error})", "a list of objects") from None
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise InputError(str(file), "something else than a list of objects", "[{...}, {...}]")
    rows = tuple(TableRow(f"{file}: item {number}", value) for number, value in enumerate(values, start=1))
    return Table(file.name, list_columns(rows), rows)


def read_parquet(file: Path, encoding: str | None = None) -> Table:
    """A Parquet file. InputError where it is none."""
    import pyarrow
    from pyarrow import parquet

    try:
        values = parquet.read_table(file).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(str(file), f"no Parquet ({error})", "a Parquet file") from None
    rows = tuple(TableRow(f"{file}: row {number}", value) for number, value in enumerate(values, start=1))
    return Table(file.name, list_columns(rows), rows)


def read_dataset(source: str) -> Table:
    """A Hugging Face dataset: a local folder, an id, or `id:configuration`; its own splits tell train from eval.

    Raises InputError where the library is missing, or where neither a folder nor the hub has the dataset.
    """
    if not Path(source).exists():
        check_hub()  # before the library reads its settings
    try:
        import datasets
    except ImportError:
        raise InputError(
            source, "the package `datasets` is not installed", "a CSV, JSONL or Parquet file, or that package",
            "pip install 'raglift[datasets]'",
        ) from None  # fmt: skip
    datasets.disable_progress_bars()
    path, _, name = (source, "", "") if Path(source).exists() else source.partition(":")
    folder = Path(path)
    saved = any((folder / file).is_file() for file in ("dataset_dict.json", "state.json"))
    try:
        loaded = datasets.load_from_disk(path) if saved else datasets.load_dataset(path, name or None)
    except Exception as error:  # the library and the network each have their own
        tried = f"folder {folder.absolute()}" if folder.is_dir() else "the Hugging Face hub and its cache"
        raise InputError(
            f"dataset '{source}'",
            f"cannot be loaded from {tried} ({' '.join(str(error).split())[:200]})",
            "a file, a folder with a dataset, or an id that the hub has",
            "offline, load it elsewhere, save it with save_to_disk and give the folder",
        ) from None
    parts = loaded if isinstance(loaded, dict) else {str(loaded.split or "all"): loaded}
    rows = tuple(row for split, part in parts.items() for row in list_dataset_rows(source, str(split), part))
    told = ", ".join(f"{split} {len(part)}" for split, part in parts.items())
    return Table(source, list_columns(rows), rows, (f"{source}: {told}",))


def list_dataset_rows(source: str, split: str, part: Any) -> Iterator[TableRow]:
    """The rows of one split of a dataset."""
    for number, values in enumerate(part, start=1):
        yield TableRow(f"{source}: {split} row {number}", values, PARTS.get(split.lower()))


READERS: dict[str, Callable[[Path, str | None], Table]] = {
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".parquet": read_parquet,
}


def decode_text(file: Path, encoding: str | None = None) -> tuple[str, str]:
    """A file's text and its encoding: the one given, a byte order mark's, UTF-8, or cp949 where it plainly is Korean.

    Raises InputError rather than reading letters wrongly.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(str(file), f"cannot be read ({error.strerror})", "a file that can be read") from None
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    for name in [encoding] if encoding else [marked or "utf-8", *([] if marked else [KOREAN])]:
        try:
            text = data.decode(name)
        except LookupError:
            raise InputError("--encoding", repr(name), "an encoding such as utf-8 or cp949") from None
        except UnicodeDecodeError as error:
            place, line = error.start, data.count(b"\n", 0, error.start) + 1
            continue
        if name != KOREAN or encoding or is_korean(text):
            return text.removeprefix("\ufeff"), name
    raise InputError(
        f"{file}:{line}",
        f"byte {data[place]:#04x} is not {encoding or 'UTF-8'}, and the file is no Korean cp949 text either"
        if not encoding
        else f"byte {data[place]:#04x} is not {encoding}",
        "UTF-8 text",
        "save it as UTF-8, or name its encoding with --encoding",
    )


def is_korean(text: str) -> bool:
    """Whether the letters beyond ASCII are nearly all common Hangul: a text of another encoding rarely looks so."""
    beyond = [letter for letter in text if not letter.isascii()]
    common = sum("가" <= letter <= "힣" and len(letter.encode("euc-kr", "ignore")) == 2 for letter in beyond)
    return bool(beyond) and common >= 0.9 * len(beyond)


def choose_delimiter(text: str) -> str:
    """The delimiter that parts the header into most cells."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    header = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=header.count)


def check_columns(columns: list[str] | tuple[str, ...], where: str) -> tuple[str, ...]:
    """The columns; InputError where there is no header or a name stands twice."""
    if not columns:
        raise InputError(where, "empty", "a header and rows")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise InputError(where, f"column '{twice[0]}' twice", "column names that differ")
    return tuple(columns)


def list_columns(rows: tuple[TableRow, ...]) -> tuple[str, ...]:
    """Every key of the rows, in order of appearance."""
    return tuple(dict.fromkeys(key for row in rows for key in row.values))
