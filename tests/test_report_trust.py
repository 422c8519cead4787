"""How far the grades can be trusted: the report's section, its warnings, and the words of graders in two languages."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raglift.agreement import list_warnings
from raglift.correction import draw_answers, find_misfit
from raglift.grading.grades import settle_grade
from raglift.grading.judge import Ballot, decide_verdict
from raglift.grading.judge_prompt import Vote
from raglift.grading.review_sample import ReviewSample
from raglift.grading.rubric import grade_rubric
from raglift.records import Rubric
from raglift.report.places import hide_settings, is_local, name_place
from raglift.report.summary import print_summary
from raglift.report.texts import speak
from raglift.report.wording import CUT, translate
from raglift.report.writing import write_report
from report_fixture import add_reviews, make_experiment, write_run

ARMS = ("sft.none", "rag-sft.oracle", "base.none")
HOSTILE = "<b>둘|</b>`\x1b[31m"


def make_run(path: Path, language: str = "en", **options: Any):
    return write_run(path / "run", language, arms=ARMS, experiment=make_experiment(12, 2, 1), **options)


def read_report(run: Any, kind: str = "md") -> str:
    write_report(*run)
    return run[0].report(kind).read_text(encoding="utf-8")


def show_summary(comparison: dict[str, Any], language: str) -> str:
    console = Console(file=io.StringIO(), width=400, color_system=None)
    print_summary(comparison, language, console=console)
    return console.file.getvalue()


def test_differences_come_first_then_pairs_then_the_corrected_lift(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_reviews(*run, {"one": 0.1, HOSTILE: 0.2})
    text = read_report(run)
    section = text[text.index("## How far the grades can be trusted") :]
    section = section[: section.index("\n## ")]
    places = [section.index(words) for words in ("graders differ:", "`human` / `rubric`", "alpha of", "The lift, corr")]
    assert places == sorted(places)
    assert "| as graded (rubric) |" in section and "| corrected |" in section
    assert "96 of 96 answers graded by people (reviewers: \\<b\\>둘\\|" in section
    assert "Cohen's kappa 0." in section and "Krippendorff's alpha of rubric, " in section
    counts = {line.count(" | ") for line in section.splitlines() if line.startswith("| human ↓")}
    assert counts == {2}


def test_every_form_says_the_same(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    comparison = add_reviews(*run, {"one": 0.4})
    pair = comparison["agreement"]["pairs"][0]
    found = json.loads(read_report(run, "json"))["trust"]
    agreed = json.loads((run[0].path / "agreement.json").read_text(encoding="utf-8"))
    assert found["pairs"] == agreed["pairs"] and found["disagreements"] == agreed["disagreements"]
    assert found["corrected"]["lift"] == comparison["corrected"]["lift"]
    [warning] = found["warnings"]
    for text in (read_report(run, "md").replace("\\", ""), read_report(run, "html").replace("&#39;", "'")):
        assert warning in text
        assert f"{pair['kappa']:.3f}" in text and f"{pair['agreed']:.1f}%" in text
    assert f"Warning: {warning}" in show_summary(comparison, "en")
    assert "Corrected by people's verdicts on 96 answers" in show_summary(comparison, "en")


def test_korean_reports_say_all_of_it_in_korean(tmp_path: Path) -> None:
    run = make_run(tmp_path, "ko")
    comparison = add_reviews(*run, {"하나": 0.4})
    texts = [read_report(run, "md"), read_report(run, "html"), show_summary(comparison, "ko")]
    for text in texts:
        assert "대표 결과의 채점자는" in text and "보정하면" in text
        assert "the headline rests" not in text
    assert all("채점을 얼마나 믿을 수 있나" in text for text in texts[:2])
    for english in ("the answer only repeats", "was cut at its length limit", "none of", "denied, "):
        assert english not in texts[0] + texts[1] + run[0].log.read_text(encoding="utf-8")
    assert "문서 제목을 되풀이하기만 함" in texts[1]


def test_one_grader_alone_shows_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for kind in ("md", "html"):
        text = read_report(run, kind)
        assert "How far the grades" not in text and "kappa" not in text
        assert "No person checked them here" in text
    assert json.loads(read_report(run, "json"))["trust"]["pairs"] == []


def test_limits_know_who_checked(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_reviews(*run, {"one": 0.1})
    assert "No person checked" not in read_report(run) and "For people's verdicts beside them" in read_report(run)
    by_hand = run[2].model_copy(update={"grader": "human"})
    comparison = json.loads(run[0].comparison.read_text()) | {"grader": "human"}
    run[0].comparison.write_text(json.dumps(comparison))
    assert "no two graded the same answers" in read_report((*run[:2], by_hand))
    add_reviews(run[0], run[1], by_hand, {"two": 0.1})
    assert "how far they agree is under" in read_report((*run[:2], by_hand))


def test_a_sample_not_drawn_corrects_nothing_and_says_why(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    comparison = add_reviews(*run, {"one": 0.1}, answers=10)
    assert comparison["corrected"]["lift"] is None
    text = read_report(run)
    assert "No corrected lift: what people graded was not drawn at random" in text
    assert "too few (under 20)" in text


def test_an_older_agreement_is_not_shown_beside_newer_grades(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_reviews(*run, {"one": 0.1})
    older = (run[0].path / "agreement.json").read_text(encoding="utf-8")
    add_reviews(*run, {"two": 0.5})
    (run[0].path / "agreement.json").write_text(older, encoding="utf-8")
    text = read_report(run)
    assert "agreement.json was made from other grades" in text and "graders differ:" not in text
    (run[0].path / "agreement.json").write_text("{", encoding="utf-8")
    assert "other grades" not in read_report(run)


def test_the_judge_and_its_cost_stand_in_the_settings(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    judge = {"model": "/srv/models/qwen", "url": "http://me:secret@host:8000/v1?key=1", "votes": 3, "calls": 720}
    run[0].update_manifest(judge={**judge, "failed": 2, "prompt_tokens": 512000, "reply_tokens": 43000, "seconds": 812})
    text = read_report(run)
    for words in ("| model | `qwen` |", "`http://host:8000/v1`", "| calls | `720` |", "`512000`", "`13 min 32 s`"):
        assert words in text
    assert not any(word in text + read_report(run, "json") for word in ("secret", "key=1", "/srv"))


@pytest.mark.parametrize("model", ["/home/jane/models/my-llama", "~/models/my-llama/", r"C:\Users\jane\my-llama"])
def test_no_file_tells_where_the_model_lay(tmp_path: Path, model: str) -> None:
    folder, experiment, config = make_run(tmp_path)
    config = config.model_copy(update={"model": model})
    folder.update_manifest(source="/home/jane/experiments/ml-qa-ko", config=config.model_dump(mode="json"))
    for file in write_report(folder, experiment, config):
        text = file.read_text(encoding="utf-8")
        assert "jane" not in text and "~/models" not in text, file
    card = (folder.adapter("sft", 0) / "README.md").read_text(encoding="utf-8")
    assert "base_model" not in card and "from_pretrained('path/to/my-llama')" in card
    assert "my-llama" in folder.report("html").read_text(encoding="utf-8")


def test_hub_names_stay_and_folders_go_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_local("google/gemma-3-270m") and not is_local("gemma3-270m")
    (tmp_path / "google" / "gemma-3-270m").mkdir(parents=True)
    assert name_place("google/gemma-3-270m") == "gemma-3-270m"
    assert [name_place(name) for name in ("./a", "../b/c", "x/y/z/", "/", ".")] == ["a", "c", "z", "local", "local"]
    assert hide_settings({"model": "/a/b", "retrieval": {"embedder": "/a/e5"}, "config": {"model": "/a/b"}}) == {
        "model": "b", "retrieval": {"embedder": "e5"}, "config": {"model": "b"},
    }  # fmt: skip


def list_produced(tmp_path: Path) -> list[str]:
    """What the rubric, the judge, the reviewers, agreement and correction say, from their own code."""
    rubric = Rubric((("벡터",),), must_not=("크기",))
    said = [
        grade_rubric(rubric, answer, "재현율이 뭐야?", "Recall (재현율)").reason
        for answer in ("", "재현율이 뭐야?", "Recall (재현율)", "몰라", "벡터가 아니야", "벡터 크기", "벡터")
    ]
    votes = [Ballot(Vote("correct", "ok")), Ballot(Vote("correct", "ok")), Ballot(None, "no reply")]
    said += [decide_verdict(votes).reason, decide_verdict(votes[1:]).reason]
    row = {"key": "k", "question_id": "q", "reason": "", "grader": "human", "evidence": []}
    differing = [row | {"author": "x", "verdict": "correct"}, row | {"author": "y", "verdict": "incorrect"}]
    said.append(settle_grade(differing).reason)
    weak = {"answers": 30, "agreed": 50.0, "kappa": 0.1, "kappa_ci95": [-0.2, 0.4]}
    few = {**weak, "answers": 3}
    for whole, headline in ((weak, weak), (weak, few), (few, few)):
        said += list_warnings([{"a": "human", "b": "rubric", **whole, "headline": headline}], "rubric")
    folder, experiment, config = make_run(tmp_path)
    draw_answers(folder, experiment, config)
    drawn = json.loads(next(folder.path.glob("*sample*.json")).read_text())
    sample = ReviewSample(**{**drawn, "keys": tuple(drawn["keys"])})
    said += [find_misfit(None, "rubric", []), find_misfit(sample, "judge", []), find_misfit(sample, "rubric", [])]
    return [*said, find_misfit(replace(sample, keys=()), "rubric", [])]


def test_what_graders_say_is_known_in_korean_and_stays_in_english(tmp_path: Path) -> None:
    produced = list_produced(tmp_path)
    produced += [
        "fewer than 2 questions with scored answers",
        "1 of 40 answers judged correct by the grader in arm b have a human verdict: label 2 or more",
        "0 of 7 answers judged incorrect by the grader in arm a have a human verdict: label 2 or more",
    ]
    assert len(set(produced)) == len(produced) == 20
    english, korean = speak("en"), speak("ko")
    for text in produced:
        assert translate(english, text) == text
        assert translate(korean, text) != text
        assert translate(korean, text + CUT).endswith("(답변이 길이 한도에서 잘림)")
    assert translate(korean, "a judge's own words") == "a judge's own words"
