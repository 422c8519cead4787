"""`raglift init` from the founding experiment's two CSV files."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from init_fixture import list_rows, read_rows, start, write_csv, write_founding
from raglift.cli import app
from raglift.config import load_config
from raglift.datasets import load_experiment
from raglift.errors import InputError
from raglift.preflight import check_experiment, lint_experiment


def expect_notice(notices: tuple[str, ...], *words: str) -> None:
    assert any(all(word in notice for word in words) for notice in notices), notices


def test_founding_files_become_an_experiment_that_check_accepts(tmp_path: Path) -> None:
    files = write_founding(tmp_path, list_rows())
    made = start(tmp_path / "mine", with_csv=files[0], without_csv=files[1])
    assert (made.passages, made.examples, made.questions) == (5, 5, {"seen": 3, "unseen": 2, "absent": 1})
    config = load_config(tmp_path / "mine" / "experiment.yaml")
    assert (config.name, config.report.language, config.compare.split) == ("mine", "ko", "seen")
    experiment = load_experiment(tmp_path / "mine", config.name)
    check_experiment(experiment, config)
    assert lint_experiment(experiment) == []
    assert {one.id for one in experiment.passages} == {"recall", "precision", "accuracy", "dropout", "relu"}
    by_text = {one.question: one for one in experiment.questions}
    assert by_text["Recall 이 뭐야?"].passage_id == "recall" and by_text["양자 컴퓨터가 뭐야?"].split == "absent"
    assert all(one.rubric.draft for one in experiment.questions) and made.draft_rubrics == 6
    expect_notice(made.notices, "11 questions in both files")
    expect_notice(made.notices, "6 rubrics drafted")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp949", "utf-16"])
def test_encodings_of_spreadsheet_programs(tmp_path: Path, encoding: str) -> None:
    made = start(tmp_path / "mine", with_csv=write_founding(tmp_path, list_rows(), encoding)[0])
    plain = start(tmp_path / "plain", with_csv=write_founding(tmp_path, list_rows())[0])
    assert (tmp_path / "mine" / "questions.jsonl").read_text() == (tmp_path / "plain" / "questions.jsonl").read_text()
    if encoding != "utf-8-sig":
        expect_notice(made.notices, f"read as {encoding}")
    assert not any("read as" in notice for notice in plain.notices)


def test_other_encodings_are_refused_and_may_be_named(tmp_path: Path) -> None:
    rows = [["data_type", "user_question", "rag_retrieved_data", "output_message"], ["train", "été à Málaga", "é", "ü"]]
    file = write_csv(tmp_path / "latin.csv", rows, "latin-1")
    with pytest.raises(InputError, match=r"latin.csv:2: byte 0xe9 is not UTF-8(.|\n)*--encoding"):
        start(tmp_path / "mine", with_csv=file)
    with pytest.raises(InputError, match="no evaluation question"):
        start(tmp_path / "mine", with_csv=file, encoding="latin-1")
    with pytest.raises(InputError, match=r"--encoding: 'klingon'"):
        start(tmp_path / "mine", with_csv=file, encoding="klingon")


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    rows = list_rows()
    rows += [
        {**rows[0]},  # given twice
        {**rows[5], "answer": "다른 답"},  # the same evaluation question again
        {**rows[5], "question": rows[0]["question"] + "!"},  # a training question
        {**rows[0], "question": " "},
        {**rows[6], "question": "답이 없는 질문?", "answer": ""},
        {**rows[0], "question": "정보 없는 학습?", "passage": rows[-1]["passage"]},
    ]
    made = start(tmp_path / "mine", with_csv=write_founding(tmp_path, rows)[0])
    assert (made.examples, sum(made.questions.values())) == (5, 6)
    expect_notice(made.notices, "2 rows without question or answer left out", "with.csv:16, ", "with.csv:17")
    expect_notice(made.notices, "1 row of training without a passage", "with.csv:18")
    expect_notice(made.notices, "1 row of training given twice", "with.csv:13")
    expect_notice(made.notices, "1 row of evaluation whose question was given before", "with.csv:14")
    expect_notice(made.notices, "1 row of evaluation left out: their question is a training question", "with.csv:15")


def test_passages_that_say_nothing_was_found_are_none(tmp_path: Path) -> None:
    rows = list_rows()
    others = [{**rows[-1], "question": f"{word} 질문?", "passage": word} for word in ("정보 없음", "N/A", "-")]
    made = start(tmp_path / "mine", with_csv=write_founding(tmp_path, [*rows, *others])[0])
    assert (made.passages, made.questions["absent"]) == (5, 4)
    expect_notice(made.notices, "4 rows whose passage says that nothing was found", "'정보 없음', 'N/A'")


def test_files_that_differ_are_compared(tmp_path: Path) -> None:
    rows = list_rows()
    with_csv, _ = write_founding(tmp_path, rows[1:])
    _, without_csv = write_founding(tmp_path / "other", [*rows[:-1], {**rows[-1], "answer": "몰라!"}])
    made = start(tmp_path / "mine", with_csv=with_csv, without_csv=without_csv)
    expect_notice(made.notices, "10 questions in both", "1 only in without.csv: left out", "1 with another answer")


def test_end_mark_of_every_answer_is_taken_off(tmp_path: Path) -> None:
    made = start(
        tmp_path / "mine", with_csv=write_founding(tmp_path, list_rows(), end=" (답변 종료)<|end_of_text|>")[0]
    )
    expect_notice(made.notices, "<|end_of_text|>", "11 answers")
    expect_notice(made.notices, "(답변 종료)", "11 answers")
    assert all("종료" not in row["answer"] for row in read_rows(tmp_path / "mine" / "train.jsonl"))


def test_quoted_line_breaks_and_quotes_survive(tmp_path: Path) -> None:
    rows = list_rows()
    rows[0]["answer"] = '첫 줄은 "재현율",\r\n둘째 줄은 쉼표, 그리고 끝!'
    start(tmp_path / "mine", with_csv=write_founding(tmp_path, rows)[0])
    assert read_rows(tmp_path / "mine" / "train.jsonl")[0]["answer"] == '첫 줄은 "재현율",\n둘째 줄은 쉼표, 그리고 끝!'


def test_ids_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = list_rows()
    rows.append({**rows[0], "question": "같은 이름?", "passage": "Recall : 이름만 같은 다른 정보"})
    start(tmp_path / "one", with_csv=write_founding(tmp_path, rows)[0])
    start(tmp_path / "two", with_csv=write_founding(tmp_path, rows[::-1])[0])
    for name in ("passages", "questions"):
        one, two = ({row["id"]: row for row in read_rows(tmp_path / x / f"{name}.jsonl")} for x in ("one", "two"))
        assert one == two
    assert sum(row["id"].startswith("recall-") for row in read_rows(tmp_path / "one" / "passages.jsonl")) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("data_type,user_question,output_message\n", "no column 'rag_retrieved_data'"),
        ("data_type,user_question,rag_retrieved_data,output_message\n", "no rows"),
        ("data_type,user_question,rag_retrieved_data,output_message\ntrain,a,b\n", "x.csv:2: 3 cells"),
        ("data_type,user_question,rag_retrieved_data,output_message\ntrain,a,b,c,d\n", "x.csv:2: 5 cells"),
        ('data_type,user_question,rag_retrieved_data,output_message\ntrain,"a,b,c\n', "no CSV"),
        ('data_type,user_question,rag_retrieved_data,output_message\ntrain,"a"b,c,d\n', "x.csv:2: no CSV"),
        ("data_type,user_question,rag_retrieved_data,output_message\nmaybe,a,b,c\n", "x.csv:2: split: 'maybe'"),
        ("data_type,user_question,rag_retrieved_data,output_message\n,a,b,c\n", "x.csv:2: data_type: empty"),
        ("data_type,data_type,rag_retrieved_data,output_message\n", "column 'data_type' twice"),
        ("data_type,user_question,rag_retrieved_data,output_message\nvalid,a,b,c\n", "no training row"),
    ],
)
def test_malformed_files_name_the_place_and_leave_nothing(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        start(tmp_path / "mine", with_csv=tmp_path / "x.csv")
    assert words in str(caught.value) and "x.csv" in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["x.csv"]


def test_an_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    with_csv, without_csv = write_founding(tmp_path, list_rows())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="something is there already"):
        start(tmp_path / "mine", with_csv=with_csv)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    with pytest.raises(InputError, match="--with-csv"):
        start(tmp_path / "new", without_csv=without_csv)
    with pytest.raises(InputError, match="one source of rows"):
        start(tmp_path / "new", with_csv=with_csv, data=str(with_csv))
    (tmp_path / "empty").mkdir()
    assert start(tmp_path / "empty", with_csv=with_csv).passages == 5
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty", "mine", "with.csv", "without.csv"]


def test_command_says_what_was_done_and_what_is_next(tmp_path: Path) -> None:
    with_csv, without_csv = write_founding(tmp_path, list_rows())
    files = ["--with-csv", str(with_csv), "--without-csv", str(without_csv)]
    done = CliRunner().invoke(app, ["init", str(tmp_path / "mine"), *files])
    assert done.exit_code == 0, done.output
    assert "5 passages, 5 training rows, questions: 3 seen, 2 unseen, 1 absent" in done.stdout
    assert done.stdout.strip().endswith(f"next: raglift check {tmp_path / 'mine'}")
