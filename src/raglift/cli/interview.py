"""`raglift init --interactive`: the flags, asked one by one."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from rich.prompt import FloatPrompt, IntPrompt, Prompt

from raglift.errors import InputError
from raglift.importing.mapping import FIELDS, REQUIRED
from raglift.importing.starting import Sources
from raglift.importing.tables import read_table
from raglift.progress import console, say

KINDS = {
    "bundled": "the bundled experiment ml-qa-ko, to edit",
    "founding": "the founding layout's two CSV files",
    "table": "a CSV, JSONL, JSON or Parquet file, or a Hugging Face dataset",
    "documents": "a folder of Markdown, text or PDF",
}
USUAL = {
    "question": ("question", "query", "prompt", "instruction", "input", "질문"),
    "answer": ("answer", "output", "response", "reply", "reference", "completion", "답변", "답"),
    "passage": ("passage", "context", "document", "source", "text", "정보", "문서", "지문"),
    "split": ("split", "data_type", "part", "구분"),
    "rubric": ("rubric",),
}


def ask_sources(known: Sources) -> Sources:
    """The sources as the user tells them; what the flags said already is the default.

    Raises InputError when the input ends before everything is told.
    """
    for name, told in KINDS.items():
        say(f"  {name:<10} {told}")
    try:
        kind = Prompt.ask("Where do your questions come from", choices=list(KINDS), default="table", console=console)
        return ASK[kind](known)
    except EOFError:
        raise InputError(
            "init --interactive", "the input ended", "an answer to each question", "use the flags"
        ) from None


def guess_column(field: str, columns: tuple[str, ...]) -> str | None:
    """The column that most likely holds a field."""
    lower = {column.lower(): column for column in columns}
    for name in USUAL[field]:
        if name in lower:
            return lower[name]
    near = get_close_matches(field, list(lower), n=1, cutoff=0.6)
    return lower[near[0]] if near else None


def _ask_bundled(known: Sources) -> Sources:
    return replace(known, copied=known.copied or "ml-qa-ko")


def _ask_founding(known: Sources) -> Sources:
    with_csv = _ask_text("CSV with the retrieved texts", known.with_csv)
    without_csv = _ask_text("CSV without them (- for none)", known.without_csv or "-")
    return replace(known, with_csv=Path(with_csv), without_csv=None if without_csv == "-" else Path(without_csv))


def _ask_table(known: Sources) -> Sources:
    data = _ask_text("File, dataset folder or dataset id", known.data)
    columns = read_table(data, known.encoding).columns
    say(f"  columns: {', '.join(columns)}")
    mapping = []
    for field in FIELDS:
        guess = guess_column(field, columns)
        if field in REQUIRED or guess is not None:
            column = _ask_text(f"Column with the {field}" + ("" if field in REQUIRED else " (- for none)"), guess)
            mapping += [f"{field}={column}"] if column != "-" else []
    share = known.eval_share
    if not any(pair.startswith("split=") for pair in mapping):
        share = FloatPrompt.ask("Share of the questions for evaluation", default=share, console=console)
    return replace(known, data=data, mapping=tuple(mapping), eval_share=share)


def _ask_documents(known: Sources) -> Sources:
    folder = _ask_text("Folder", known.documents)
    length = IntPrompt.ask("Characters of a passage", default=known.passage_length, console=console)
    return replace(known, documents=Path(folder), passage_length=length)


def _ask_text(question: str, default: object = None) -> str:
    while True:
        text = Prompt.ask(question, default=None if default is None else str(default), console=console)
        if text:
            return text


ASK = {"bundled": _ask_bundled, "founding": _ask_founding, "table": _ask_table, "documents": _ask_documents}
