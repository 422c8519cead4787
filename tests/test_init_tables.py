"""`raglift init --data`: tables of every kind with a column mapping, and what a CSV file can hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from init_fixture import list_rows, read_rows, start, write_csv
from raglift.cli import app
from raglift.config import load_config
from raglift.datasets import load_experiment
from raglift.errors import InputError
from raglift.importing.building import build_experiment
from raglift.importing.mapping import map_rows, parse_mapping
from raglift.importing.names import make_slug, name_texts
from raglift.importing.rows import ImportedRow, Material, tidy_text
from raglift.importing.tables import read_table
from raglift.preflight import check_rubrics, lint_experiment

MAPPING = ("question=질문", "answer=out", "passage=ctx.text", "split=part")


def list_nested() -> list[dict[str, Any]]:
    return [
        {"part": row["part"], "질문": row["question"], "out": [row["answer"]], "ctx": {"text": row["passage"]}}
        for row in list_rows()
    ]


def write_table(folder: Path, kind: str) -> str:
    rows = list_nested()
    if kind == "jsonl":
        (folder / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif kind == "json":
        (folder / "qa.json").write_text(json.dumps(rows), encoding="utf-8")
    elif kind == "parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "qa.parquet")
    else:
        import datasets

        parts = {"train": "train", "validation": "valid"}
        made = {
            name: datasets.Dataset.from_list([{**row, "part": ""} for row in rows if row["part"] == part])
            for name, part in parts.items()
        }
        if kind == "saved":
            datasets.DatasetDict(made).save_to_disk(folder / "qa.saved")
        else:
            (folder / "qa.folder").mkdir()
            for name, part in made.items():
                part.to_json(folder / "qa.folder" / f"{name}.jsonl", force_ascii=False)
    return str(folder / f"qa.{kind}")


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "saved", "folder"])
def test_every_kind_of_table_gives_the_same_experiment(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    made = start(tmp_path / "mine", data=write_table(tmp_path, kind), mapping=MAPPING)
    assert (made.passages, made.examples, made.questions) == (5, 5, {"seen": 3, "unseen": 2, "absent": 1})


def test_columns_of_the_fields_names_need_no_mapping(tmp_path: Path) -> None:
    rows = list_rows()
    header = ["question", "answer", "passage", "split"]
    lines = [header, *([row["question"], row["answer"], row["passage"], row["part"]] for row in rows)]
    made = start(tmp_path / "mine", data=str(write_csv(tmp_path / "qa.csv", lines, delimiter=";")))
    assert made.questions == {"seen": 3, "unseen": 2, "absent": 1}
    assert any("';'" in notice for notice in made.notices)


def test_share_and_limit_draw_the_same_rows_every_time(tmp_path: Path) -> None:
    texts = [(f"질문 {n}번은?", f"답은 {n}이야!", f"정보 {n % 7} : 값은 {n % 7}") for n in range(40)]
    rows = [ImportedRow("x", *text) for text in texts]
    first = build_experiment(Material(["x"], list(rows)), eval_share=0.25, limit=8)
    again = build_experiment(Material(["x"], rows[::-1]), eval_share=0.25, limit=8)
    assert len(first.examples) == len(first.questions) == 8
    assert {one.question for one in first.questions} <= {row.question for row in rows}
    assert any("10 of 40 questions (25%" in notice for notice in first.notices)
    assert any("train: 8 of 30 rows drawn" in notice for notice in first.notices)
    whole = {one.question for one in build_experiment(Material(["x"], list(rows)), 0.25).questions}
    assert {one.question for one in again.questions} <= whole


def test_rows_without_a_passage_are_for_evaluation(tmp_path: Path) -> None:
    rows = [ImportedRow("x", f"질문 {n}번은?", f"답은 {n}이야!", f"정보 {n} : 값은 {n}") for n in range(10)]
    rows += [ImportedRow("x", f"답이 없는 질문 {n}?", "알맞은 정보를 찾을 수 없어!", "") for n in range(3)]
    built = build_experiment(Material(["x"], rows))
    assert len(built.examples) == 7 and built.count_splits() == {"unseen": 3, "absent": 3}


def test_english_data_gets_english_words(tmp_path: Path) -> None:
    rows = [["question", "answer", "passage"]]
    rows += [[f"What is item {n}?", f"It is the colour number {n}.", f"Item {n}: colour {n}"] for n in range(20)]
    start(tmp_path / "mine", data=str(write_csv(tmp_path / "qa.csv", rows)))
    config = load_config(tmp_path / "mine" / "experiment.yaml")
    assert config.report.language == "en" and config.compare.split == "unseen"
    assert config.prompt.answer_mark == "\n### Answer:"


def test_rubric_of_the_table_is_kept(tmp_path: Path) -> None:
    rows = list_nested()
    rubric = {"must": [["찾아낸"]], "pass": ["찾아낸 비율"], "fail": ["맞은 비율"]}
    rows[5]["rubric"] = rubric
    (tmp_path / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = start(tmp_path / "mine", data=str(tmp_path / "qa.jsonl"), mapping=MAPPING)
    assert made.draft_rubrics == 5
    assert read_rows(tmp_path / "mine" / "questions.jsonl")[0]["rubric"] == {**rubric, "must_not": []}


@pytest.mark.parametrize(
    ("data", "mapping", "words"),
    [
        ("qa.jsonl", ("question",), "no field=column"),
        ("qa.jsonl", ("quest=x",), "did you mean 'question'"),
        ("qa.jsonl", ("question=x", "question=y"), "again"),
        ("qa.jsonl", ("question=질문", "answer=out", "passage=text"), "no column 'text'"),
        ("qa.jsonl", (*MAPPING[:3], "split=teil"), "no column 'teil'"),
        ("missing.csv", (), "no such file"),
        ("qa.xlsx", (), "the ending '.xlsx'"),
        ("bad.parquet", (), "no Parquet"),
        ("bad.json", (), "not JSON"),
        ("someone/no-such-dataset", (), "cannot be loaded from the Hugging Face hub"),
    ],
)
def test_mistakes_get_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, mapping: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path, "jsonl")
    for name in ("qa.xlsx", "bad.parquet", "bad.json"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError) as caught:
        start(tmp_path / "mine", data=data, mapping=mapping)
    assert words in str(caught.value)
    assert not (tmp_path / "mine").exists()


def test_mapping_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table to map"):
        start(tmp_path / "mine", mapping=("question=q",))


def test_interview_asks_for_what_the_flags_would_say(tmp_path: Path) -> None:
    rows = [["data_type", "query", "context", "response"]]
    rows += [[row["part"], row["question"], row["passage"], row["answer"]] for row in list_rows()]
    file = write_csv(tmp_path / "qa.csv", rows)
    # An empty line takes the guess: query, response, context, data_type.
    told = f"table\n{file}\n\n\n\n\n"
    done = CliRunner().invoke(app, ["init", str(tmp_path / "mine"), "--interactive", "--json"], input=told)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["questions"] == {"seen": 3, "unseen": 2, "absent": 1}
    ended = CliRunner().invoke(app, ["init", str(tmp_path / "other"), "--interactive"], input="table\n")
    assert isinstance(ended.exception, InputError) and "the input ended" in str(ended.exception)


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


@settings(max_examples=150)
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=6), st.sampled_from([",", ";", "\t"]))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, ...]], delimiter: str) -> None:
    file = tmp_path_factory.mktemp("csv") / "qa.csv"
    rows = [row for row in cells if any(cell.strip() for cell in row)]
    write_csv(file, [("question", "answer", "passage"), *rows], "utf-8-sig", delimiter)
    table = read_table(str(file))
    assert [tuple(row.values.values()) for row in table.rows] == rows
    if rows:
        mapped = map_rows(table, parse_mapping([]))
        assert [(row.question, row.answer, row.passage) for row in mapped] == [
            tuple(map(tidy_text, row)) for row in rows
        ]


@settings(max_examples=60)
@given(st.lists(st.tuples(TEXT, TEXT, TEXT, st.sampled_from(["train", "eval"])), min_size=4, max_size=12))
def test_whatever_is_built_is_an_experiment_that_loads(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str, str, Any]]
) -> None:
    from raglift.importing.writing import write_built

    rows = [ImportedRow(f"x:{n}", *(tidy_text(text) for text in row[:3]), part=row[3]) for n, row in enumerate(cells)]
    folder = tmp_path_factory.mktemp("built") / "mine"
    try:
        built = build_experiment(Material(["x"], rows))
    except InputError as error:
        assert "is left" in str(error) or "has a passage" in str(error)
        return
    write_built(folder, built)
    experiment = load_experiment(folder, "mine")
    assert (experiment.passages, experiment.examples) == (built.passages, built.examples)
    check_rubrics(experiment)
    assert lint_experiment(experiment) == []


@given(st.lists(st.text(max_size=60), unique=True, max_size=8))
def test_ids_are_short_readable_and_different(texts: list[str]) -> None:
    names = name_texts(texts, texts)
    assert len(set(names)) == len(names)
    assert all(len(name) <= 73 and name == name.strip("-") and " " not in name for name in names)


def test_slugs_keep_korean_and_cut_at_words() -> None:
    assert make_slug("ROC-AUC (ROC 곡선)") == "roc-auc-roc-곡선"
    assert make_slug("?!") == "text"
    assert make_slug("하나 " * 30).endswith("하나") and len(make_slug("하나 " * 30)) <= 40
