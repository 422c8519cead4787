"""A folder of Markdown, text and PDF files cut into passages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from raglift.errors import InputError
from raglift.importing.rows import Document, Material, count_rows, tidy_text
from raglift.importing.tables import decode_text
from raglift.progress import show_progress

PASSAGE_LENGTH = 400


class Splitter(Protocol):
    """What the splitters of semantic-text-splitter have in common."""

    def chunks(self, text: str) -> Sequence[str]: ...


def read_documents(folder: Path, length: int = PASSAGE_LENGTH, encoding: str | None = None) -> Material:
    """The passages of all documents below a folder, each about `length` characters at most, cut at seams of the text.

    Raises InputError for a folder without documents, or a document that cannot be read.
    """
    if not folder.is_dir():
        raise InputError(str(folder), "no such folder", "a folder of " + ", ".join(DOCUMENTS))
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not _is_hidden(file, folder))
    wanted = [file for file in files if file.suffix.lower() in DOCUMENTS]
    if not wanted:
        raise InputError(
            str(folder), f"{count_rows(len(files), 'file')}, none of them a document", ", ".join(DOCUMENTS)
        )
    material = Material(sources=[folder.name])
    if len(wanted) < len(files):
        material.notices.append(f"{count_rows(len(files) - len(wanted), 'other file')} in {folder.name} left out")
    with show_progress("read documents", len(wanted)) as bar:
        for file in wanted:
            passages = cut_document(file, length, encoding)
            material.documents += passages
            if not passages:
                material.notices.append(f"{file.name}: no text in it")
            bar.advance()
    if not material.documents:
        raise InputError(str(folder), "documents without text", "text (a scanned PDF needs OCR first)")
    different = list({" ".join(one.text.split()): one for one in reversed(material.documents)}.values())[::-1]
    told = f"{count_rows(len(different), 'passage')} from {count_rows(len(wanted), 'document')}"
    repeated = len(material.documents) - len(different)
    material.notices.append(told + (f", {repeated} more given twice" if repeated else ""))
    material.documents = different
    return material


def cut_document(file: Path, length: int, encoding: str | None = None) -> list[Document]:
    """One document's passages in their order."""
    read, markdown = DOCUMENTS[file.suffix.lower()]
    splitter = make_splitter(markdown, length)
    pieces = join_headings(splitter.chunks(tidy_text(read(file, encoding))), length)
    texts = [tidy_text(piece) for piece in pieces if any(map(str.isalnum, piece))]
    return [Document(f"{file.stem} {text.splitlines()[0]}", text) for text in texts]


def join_headings(pieces: Sequence[str], length: int) -> list[str]:
    """The pieces, those much shorter than `length` and headings alone joined to the piece that follows."""
    joined: list[str] = []
    waiting = ""
    for piece in pieces:
        text = f"{waiting}\n\n{piece}" if waiting else piece
        is_heading = all(line.startswith("#") for line in text.splitlines() if line.strip())
        waiting = text if is_heading or len(text) < length // 8 else ""
        if not waiting:
            joined.append(text)
    if waiting and joined:
        joined[-1] += f"\n\n{waiting}"
    return joined or ([waiting] if waiting else [])


def make_splitter(markdown: bool, length: int) -> Splitter:
    """Cuts at headings, paragraphs, sentences, words, in that order of preference."""
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    splitter: Any = (MarkdownSplitter if markdown else TextSplitter)(length)
    return splitter  # type: ignore[no-any-return]


def read_plain(file: Path, encoding: str | None) -> str:
    """A text file."""
    return decode_text(file, encoding)[0]


def read_pdf(file: Path, encoding: str | None) -> str:
    """The text of a PDF's pages in the order in which they were written, columns too; '' for scanned pages.

    InputError where it cannot be read.
    """
    import pypdfium2

    try:
        with pypdfium2.PdfDocument(file) as document:
            return "\n\n".join(page.get_textpage().get_text_bounded() for page in document)
    except (pypdfium2.PdfiumError, OSError, ValueError) as error:
        raise InputError(str(file), f"cannot be read ({error})", "a PDF without a password", "leave it out") from None


DOCUMENTS: dict[str, tuple[Callable[[Path, str | None], str], bool]] = {
    ".md": (read_plain, True),
    ".markdown": (read_plain, True),
    ".txt": (read_plain, False),
    ".pdf": (read_pdf, False),
}


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
