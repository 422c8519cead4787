"""The files that a report writes: Markdown, JSON, table, log, model cards; and what the terminal shows."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from rich.console import Console

from raglift.comparison_files import compare_table
from raglift.config import DEFAULT_ARMS
from raglift.errors import InputError, RunError
from raglift.report.summary import print_summary
from raglift.report.writing import write_report
from report_fixture import load_seed_questions, make_experiment, write_run

BROKEN = re.compile(r"\b(None|NaN|nan|Undefined|inf)\b")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    folder, experiment, config = write_run(tmp_path_factory.mktemp("runs") / "ml-qa-ko")
    write_report(folder, experiment, config)
    return folder


def test_every_promised_file_is_written_and_again_the_same(tmp_path: Path) -> None:
    folder, experiment, config = write_run(tmp_path / "run", experiment=make_experiment(4, 3, 2))
    written = write_report(folder, experiment, config)
    names = {str(file.relative_to(folder.path)) for file in written}
    assert names == {
        "report.md",
        "report.html",
        "report.json",
        "table.csv",
        "answers.log",
        "adapters/sft-seed0/README.md",
        "adapters/rag-sft-seed0/README.md",
    }
    before = {file: file.read_bytes() for file in written}
    assert {file: file.read_bytes() for file in write_report(folder, experiment, config)} == before
    assert not [file for file in folder.path.rglob(".*") if file.is_file()]


def test_markdown_holds_the_founding_table(run) -> None:
    text = run.report("md").read_text(encoding="utf-8")
    lines = text.splitlines()
    assert lines[2].startswith("**RAG를 쓰면 정답률이 70.8%에서 99.2%로 28.3%p 오릅니다")
    assert "| 질문 | `rag-sft.oracle` | `sft.none` |" in lines
    assert "| 코사인 유사도가 뭔지 궁금해 | ✅ 4 / 4 | ✅ 4 / 4 |" in lines
    assert "| **전체 평균** | **99.2%** | **70.8%** |" in lines
    assert all(any(question.split(",")[0] in line for line in lines) for question in load_seed_questions())


def test_what_retrieval_costs_says_over_how_many_questions(run) -> None:
    losses = json.loads(run.comparison.read_text(encoding="utf-8"))["retrieval"]["loss"]["sft"]
    counts = {part: losses.get(part, {"questions": 0})["questions"] for part in ("all", "hit", "miss")}
    assert counts["all"] == counts["hit"] + counts["miss"] > 0
    heads = (f"전체 ({counts['all']})", f"찾음 ({counts['hit']})", f"못 찾음 ({counts['miss']})")
    assert f"|  | {' | '.join(heads)} |" in run.report("md").read_text(encoding="utf-8").splitlines()
    page = run.report("html").read_text(encoding="utf-8")
    assert all(f'<th class="n">{head}</th>' in page for head in heads)


def test_markdown_tables_keep_their_columns(run) -> None:
    for block in re.split(r"\n\n", run.report("md").read_text(encoding="utf-8")):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        counts = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
        assert len(counts) <= 1, block[:200]


def test_nothing_unestimable_and_no_control_is_shown(run) -> None:
    for file in (run.report("md"), run.report("html"), run.log, run.table, run.adapter("sft", 0) / "README.md"):
        text = file.read_text(encoding="utf-8")
        assert not BROKEN.search(re.sub(r"<script>.*?</script>\n</body>", "", text, flags=re.DOTALL)), file
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), file


def test_json_carries_what_is_shown(run) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    value = json.loads(run.report("json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert value["comparison"]["lift"] == pytest.approx(28.333333)
    assert len(value["questions"]) == 58
    assert all(len(question["answers"]) == 32 for question in value["questions"])
    assert value["manifest"]["peak_memory_gib"] == 3.42
    assert value["hashes"]["train"] and value["training"] and value["failures"]


def test_table_is_read_by_compare(run) -> None:
    assert run.table.read_text(encoding="utf-8").startswith(
        "question,rag-sft_oracle_correct,rag-sft_oracle_total,sft_none_correct,sft_none_total,"
    )
    compared = compare_table(run.table, "sft_none", "rag-sft_oracle")
    arms = json.loads(run.comparison.read_text(encoding="utf-8"))["arms"]
    assert compared["questions"] == 58
    assert compared["b"]["correct"] == sum(cell["correct"] for cell in arms["rag-sft.oracle"].values())


def test_table_runs_no_formula_and_tells_same_questions_apart(tmp_path: Path) -> None:
    experiment = make_experiment(4, 0, 0)
    first, second, third, fourth = experiment.questions
    odd = (
        replace(first, question="=1+1"),
        replace(second, question="@a"),
        third,
        replace(fourth, question=third.question),
    )
    folder, experiment, config = write_run(tmp_path / "run", experiment=replace(experiment, questions=odd))
    write_report(folder, experiment, config)
    rows = list(csv.DictReader(io.StringIO(folder.table.read_text(encoding="utf-8"))))
    asked = [row["question"] for row in rows]
    assert asked[:2] == ["'=1+1", "'@a"]
    assert len(set(asked)) == 4
    assert compare_table(folder.table, "sft_none", "rag-sft_oracle")["questions"] == 4


def test_log_holds_every_answer(run) -> None:
    text = run.log.read_text(encoding="utf-8")
    answers = [json.loads(line) for line in run.answers.read_text(encoding="utf-8").splitlines()]
    assert len(re.findall(r"^  \d [✅❌❔→] ", text, flags=re.MULTILINE)) == len(answers) == 58 * 8 * 4
    assert "0.42 s, 토큰 38개" in text


def test_model_card_is_the_hubs(run) -> None:
    card = ModelCard.load(run.adapter("rag-sft", 0) / "README.md")
    assert card.data.base_model == "google/gemma-3-270m"
    assert card.data.library_name == "peft"
    results = {(r.dataset_config, r.dataset_split): r.metric_value for r in card.data.eval_results}
    assert results["rag-sft.oracle", "seen"] == pytest.approx(99.166667)
    assert not [arm for arm, _ in results if arm.startswith("sft.")]
    assert "lora.rank" in card.text and "train.jsonl" in card.text


def test_answers_without_a_grade_are_not_shown(tmp_path: Path) -> None:
    folder, experiment, config = write_run(tmp_path / "run", experiment=make_experiment(4, 0, 0))
    stale = json.loads(folder.answers.read_text(encoding="utf-8").splitlines()[0])
    stale |= {"key": "left the plan", "text": "an answer of yesterday"}
    with folder.answers.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(stale) + "\n")
    write_report(folder, experiment, config)
    assert "of yesterday" not in folder.report("json").read_text(encoding="utf-8")


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize(
    "arms",
    [
        ("base.none", "sft.none"),
        ("sft.none", "rag-sft.oracle"),
        ("sft.none", "rag-sft.oracle", "rag-sft.counterfactual", "rag-sft.irrelevant"),
        DEFAULT_ARMS,
    ],
)
def test_missing_parts_leave_no_holes(tmp_path: Path, language: str, arms: tuple[str, ...]) -> None:
    experiment = make_experiment(3, 0, 1) if len(arms) == 2 else make_experiment(6, 2, 0)
    folder, experiment, config = write_run(
        tmp_path / "run", language, arms=arms, experiment=experiment, seeds=2, a=arms[0], b=arms[1]
    )
    shutil.rmtree(folder.path / "adapters")
    for log in folder.path.glob("training.*"):
        log.unlink()
    for file in write_report(folder, experiment, config):
        text = re.sub(r"<script>.*?</script>\n</body>", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert file.suffix == ".json" or not BROKEN.search(text), file


def test_a_bare_comparison_is_enough(tmp_path: Path) -> None:
    folder, experiment, config = write_run(tmp_path / "run", "en", experiment=make_experiment(3, 0, 0))
    side = {"arm": "sft.none", "accuracy": None, "correct": 0, "total": 0, "questions": 0}
    bare = {"a": side, "b": {**side, "arm": "rag-sft.oracle"}, "lift": None, "ci95": None, "verdict": "not estimable"}
    folder.comparison.write_text(json.dumps(bare))
    folder.answers.unlink()
    folder.manifest_file.unlink()
    write_report(folder, experiment, config)
    for kind in ("md", "html"):
        text = folder.report(kind).read_text(encoding="utf-8")
        assert "too few questions" in text
        assert not BROKEN.search(text.split("<script>")[0])


def test_a_run_that_is_not_compared_says_what_to_do(tmp_path: Path) -> None:
    folder, experiment, config = write_run(tmp_path / "run", experiment=make_experiment(3, 0, 0))
    folder.comparison.write_text('{"a": ')
    with pytest.raises(RunError, match="raglift compare"):
        write_report(folder, experiment, config)
    folder.comparison.unlink()
    with pytest.raises(InputError, match="raglift compare"):
        write_report(folder, experiment, config)


def show(comparison: dict, language: str, **options: Path) -> str:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    print_summary(comparison, language, console=console, **options)
    return console.file.getvalue()


def test_summary_ends_with_the_report(run) -> None:
    shown = show(json.loads(run.comparison.read_text()), "en", report=Path("runs/ml-qa-ko/report.html"))
    assert shown.rstrip().splitlines()[-1] == "Report: runs/ml-qa-ko/report.html"
    assert "RAG lifts the model by 28.3 points: 99.2% right with it, 70.8% without." in shown
    assert "✅ 4 / 4" in shown and "Overall" in shown and "rag-sft.retrieved" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_summary_of_a_table_and_hostile_names() -> None:
    seed_table = Path(__file__).parent / "data" / "seed-table.csv"
    compared = compare_table(seed_table, "without_rag", "with_rag")
    shown = show(compared, "en")
    assert "+20.0 points" in shown and "0.015625" in shown and "100.0%" in shown
    compared["a"]["arm"] = "[red]\x1b[31m"
    assert "[red]␛[31m" in show(compared, "ko")
