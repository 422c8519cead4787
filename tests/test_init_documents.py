"""`raglift init --documents`: Markdown, text and PDF cut into passages, and templates that the user fills in."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import write_rows
from init_fixture import list_rows, read_rows, start, write_csv
from raglift.cli import app
from raglift.datasets import load_experiment
from raglift.errors import InputError
from raglift.preflight import check_rubrics

BODY = "재현율은 비율이다. " * 25
GUIDE = f"# Recall\n\n{BODY}\n\n## 공식\n\nTP / (TP + FN) 으로 계산한다.\n\n# Precision\n\n{BODY}\n"


def write_pdf(file: Path, text: str) -> None:
    """A PDF of one page with one line of text, written by hand."""
    stream = f"BT /F1 12 Tf 20 100 Td <{text.encode('utf-16-be').hex()}> Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 700 200] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type0 /BaseFont /HYSMyeongJo-Medium /Encoding /UniKS-UTF16-H "
        b"/DescendantFonts [<< /Type /Font /Subtype /CIDFontType0 /BaseFont /HYSMyeongJo-Medium "
        b"/CIDSystemInfo << /Registry (Adobe) /Ordering (Korea1) /Supplement 2 >> >>] >>",
    ]
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start_of_table = len(data)
    data += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start_of_table
    file.write_bytes(data)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    (folder / "deep").mkdir(parents=True)
    (folder / "guide.md").write_text(GUIDE, encoding="utf-8")
    (folder / "deep" / "notes.txt").write_bytes("드롭아웃은 뉴런을 무작위로 끈다.".encode("cp949"))
    write_pdf(folder / "paper.pdf", "ReLU keeps positive values. 급속 충전기는 100 kW 로 약 40분이 걸린다.")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.md").write_text("# not this")
    return folder


def test_documents_become_passages_and_templates(tmp_path: Path, library: Path) -> None:
    made = start(tmp_path / "mine", documents=library, passage_length=200)
    passages = {row["id"]: row["text"] for row in read_rows(tmp_path / "mine" / "passages.jsonl")}
    assert made.is_template and made.passages == len(passages) >= 4
    assert passages["guide-recall"].startswith("# Recall\n\n재현율은")
    assert passages["notes-드롭아웃은-뉴런을-무작위로-끈다"] == "드롭아웃은 뉴런을 무작위로 끈다."
    assert "ReLU keeps positive values. 급속 충전기는 100 kW 로 약 40분이 걸린다." in passages.values()
    assert not any("not this" in text for text in passages.values())
    assert all(len(text) <= 230 for text in passages.values())
    assert any("1 other file in library left out" in notice for notice in made.notices)
    text = " ".join(GUIDE.split())
    assert all(" ".join(piece.split()) in text for name, piece in passages.items() if name.startswith("guide"))


def test_check_says_that_templates_must_be_filled_in(tmp_path: Path, library: Path) -> None:
    done = CliRunner().invoke(app, ["init", str(tmp_path / "mine"), "--documents", str(library)])
    assert "templates" in done.stdout and "next: fill in train.jsonl and questions.jsonl" in done.stdout
    checked = CliRunner().invoke(app, ["check", str(tmp_path / "mine")])
    assert isinstance(checked.exception, InputError)
    assert "train.jsonl:1: question: still the template's" in str(checked.exception)


def test_filled_in_templates_get_their_rubrics_drafted(tmp_path: Path, library: Path) -> None:
    folder = tmp_path / "mine"
    start(folder, documents=library)
    passages = {row["id"]: row["text"] for row in read_rows(folder / "passages.jsonl")}
    train, questions = read_rows(folder / "train.jsonl"), read_rows(folder / "questions.jsonl")
    train[0] |= {"question": "재현율 알려줘!", "answer": "재현율은 비율이야!", "passage_id": "guide-recall"}
    questions[0] |= {"question": "재현율이 뭐야?", "reference": "TP / (TP + FN) 이야!", "passage_id": "guide-recall"}
    other = next(name for name in passages if name.startswith("notes"))
    questions[1] |= {"question": "드롭아웃이 뭐야?", "reference": "뉴런을 무작위로 꺼!", "passage_id": other}
    questions[2] |= {"question": "달은 얼마나 멀어?", "reference": "알맞은 정보를 찾을 수 없어!"}
    write_rows(folder / "train.jsonl", train)
    write_rows(folder / "questions.jsonl", questions)
    with pytest.raises(InputError, match="rubric draft"):
        load_experiment(folder, "mine")
    done = CliRunner().invoke(app, ["rubric", "draft", str(folder), "--write"])
    assert done.exit_code == 0, done.output
    assert "3 rubrics drafted" in done.stdout
    experiment = load_experiment(folder, "mine")
    check_rubrics(experiment)
    assert all(question.rubric.draft for question in experiment.questions)
    kept = (folder / "questions.jsonl").read_text()
    again = CliRunner().invoke(app, ["rubric", "draft", str(folder), "--write"])
    assert "0 rubrics drafted" in again.stdout and (folder / "questions.jsonl").read_text() == kept


def test_documents_beside_a_table_widen_the_knowledge_base(tmp_path: Path, library: Path) -> None:
    rows = [["question", "answer", "passage", "split"]]
    rows += [[row["question"], row["answer"], row["passage"], row["part"]] for row in list_rows()]
    made = start(tmp_path / "mine", data=str(write_csv(tmp_path / "qa.csv", rows)), documents=library)
    assert made.passages > 5 and made.questions == {"seen": 3, "unseen": 2, "absent": 1} and not made.is_template


def test_folders_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        start(tmp_path / "mine", documents=tmp_path / "none")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match="1 file, none of them a document"):
        start(tmp_path / "mine", documents=tmp_path / "docs")
    (tmp_path / "docs" / "a.txt").write_text(" \n")
    with pytest.raises(InputError, match="documents without text"):
        start(tmp_path / "mine", documents=tmp_path / "docs")
    (tmp_path / "docs" / "a.pdf").write_bytes(b"%PDF-1.4 broken")
    with pytest.raises(InputError, match=r"a\.pdf: cannot be read"):
        start(tmp_path / "mine", documents=tmp_path / "docs")
