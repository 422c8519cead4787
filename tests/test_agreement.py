"""Agreement of graders and the corrected lift, from the files of a run folder."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from judge_fixture import judge_by, run_server
from raglift.agreement import agree_graders, format_agreement
from raglift.cli import app
from raglift.config import Config
from raglift.correction import correct_judged, describe_corrected, draw_answers, weigh_grades
from raglift.datasets import dump_line
from raglift.errors import InputError
from raglift.experiment import compare_arms, open_run, reopen_run, run_experiment
from raglift.grading.grades import read_grades
from raglift.grading.review_items import choose_compared, read_reviewable
from raglift.grading.review_sample import read_sample
from raglift.records import Answer, Experiment
from raglift.runfolder import RunFolder, recover_lines
from raglift.statistics.comparison import compare_paired
from report_fixture import make_experiment, write_run

ARMS = ("sft.none", "rag-sft.oracle", "base.none")
Opened = tuple[RunFolder, Experiment, Config]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return write_run(tmp_path / "run", arms=ARMS, experiment=make_experiment(seen=24, unseen=4, absent=2))


def write_verdicts(folder: RunFolder, grader: str, verdicts: Mapping[str, str], author: str = "") -> None:
    """Append one grade for each key."""
    rows = [
        {"key": key, "question_id": "q", "verdict": verdict, "reason": f"{grader} says so", "grader": grader,
         **({"grader": f"human:{author}", "author": author, "time": "2026-01-01T00:00:00+00:00"} if author else {})}
        for key, verdict in verdicts.items()
    ]  # fmt: skip
    with folder.grades(grader).open("a", encoding="utf-8") as file:
        file.write("".join(dump_line(row) for row in rows))


def list_compared(opened: Opened) -> list[Answer]:
    folder, experiment, config = opened
    return choose_compared(read_reviewable(folder, experiment), experiment, config)


def read_verdicts(opened: Opened, flip: Callable[[Answer], bool] = lambda answer: False) -> dict[str, str]:
    """The rubric's verdicts on the headline's answers, turned around where `flip` says so."""
    grades = read_grades(opened[0].grades("rubric"))
    other = {"correct": "incorrect", "incorrect": "correct"}
    return {
        answer.key: other[grades[answer.key].verdict] if flip(answer) else grades[answer.key].verdict
        for answer in list_compared(opened)
    }


def flip_some(share: float, arm: str = "", seed: str = "s") -> Callable[[Answer], bool]:
    draw = random.Random(seed)
    return lambda answer: draw.random() < share and arm in answer.arm


def test_two_graders_by_hand(opened: Opened) -> None:
    flipped = flip_some(0.2)
    judge = read_verdicts(opened, flipped)
    judge[next(iter(judge))] = "unscored"
    write_verdicts(opened[0], "judge", judge)
    result = agree_graders(*opened)
    (pair,) = result["pairs"]
    rubric = read_verdicts(opened)
    table = [[0, 0], [0, 0]]
    for key, verdict in judge.items():
        if verdict != "unscored":
            table[rubric[key] == "incorrect"][verdict == "incorrect"] += 1
    total = sum(map(sum, table))
    chance = sum(sum(table[i]) * sum(row[i] for row in table) for i in range(2)) / total**2
    agreed = (table[0][0] + table[1][1]) / total
    assert (pair["a"], pair["b"]) == ("judge", "rubric")
    assert pair["table"] == [list(column) for column in zip(*table, strict=True)]
    assert pair["answers"] == len(judge) - 1 == pair["headline"]["answers"]
    assert pair["kappa"] == pytest.approx((agreed - chance) / (1 - chance), abs=1e-6)
    assert pair["kappa_ci95"][0] < pair["kappa"] < pair["kappa_ci95"][1]
    assert result["graders"]["judge"]["unscored"] == 1
    assert len(result["disagreements"]) == table[0][1] + table[1][0]
    assert json.loads((opened[0].path / "agreement.json").read_text(encoding="utf-8")) == result
    assert f"kappa {pair['kappa']:.3f}" in format_agreement(result)


def test_a_good_grader_gets_no_warning_and_a_poor_one_does(opened: Opened) -> None:
    write_verdicts(opened[0], "human", read_verdicts(opened, flip_some(0.02)), "kim")
    assert agree_graders(*opened)["warnings"] == []
    opened[0].grades("human").unlink()
    write_verdicts(opened[0], "human", read_verdicts(opened, flip_some(0.4)), "kim")
    (warning,) = agree_graders(*opened)["warnings"]
    assert "'human' and 'rubric' agree poorly" in warning and "0.667" in warning


def test_people_outrank_other_machines_in_the_warning(opened: Opened) -> None:
    write_verdicts(opened[0], "human", read_verdicts(opened, flip_some(0.02)), "kim")
    write_verdicts(opened[0], "judge", read_verdicts(opened, flip_some(0.5)))
    assert agree_graders(*opened)["warnings"] == []
    (warning,) = agree_graders(*opened, ["rubric", "judge"])["warnings"]
    assert "'judge'" in warning


def test_few_answers_in_common_are_too_few(opened: Opened) -> None:
    write_verdicts(opened[0], "human", dict(list(read_verdicts(opened).items())[:5]), "kim")
    (warning,) = agree_graders(*opened)["warnings"]
    assert "share 5 graded answers" in warning


def test_several_reviewers_are_raters_of_their_own(opened: Opened) -> None:
    write_verdicts(opened[0], "human", read_verdicts(opened, flip_some(0.5, seed="early")), "kim")
    write_verdicts(opened[0], "human", read_verdicts(opened), "kim")  # kim corrects: the last row counts
    write_verdicts(opened[0], "human", read_verdicts(opened, flip_some(0.1, seed="lee")), "이")
    result = agree_graders(*opened)
    pairs = {(pair["a"], pair["b"]): pair for pair in result["pairs"]}
    assert set(pairs) == {
        ("human", "rubric"), ("rubric", "human:kim"), ("rubric", "human:이"), ("human:kim", "human:이"),
    }  # fmt: skip
    assert pairs["rubric", "human:kim"]["kappa"] == 1
    assert result["alpha"]["graders"] == ["rubric", "human:kim", "human:이"]
    assert 0.6 < result["alpha"]["value"] < 1
    assert "Krippendorff" in format_agreement(result)
    assert pairs["human", "rubric"]["agreed"] == 100, "where the two differ their majority is a tie: no verdict"


def test_a_headline_by_people_rests_on_their_agreement(opened: Opened) -> None:
    folder, experiment, config = opened
    write_verdicts(folder, "human", read_verdicts(opened), "kim")
    write_verdicts(folder, "human", read_verdicts(opened, flip_some(0.5)), "lee")
    (warning,) = agree_graders(folder, experiment, config.model_copy(update={"grader": "human"}))["warnings"]
    assert "'human:kim' and 'human:lee'" in warning


def test_disagreements_show_the_headline_first_and_are_safe_to_print(opened: Opened) -> None:
    folder = opened[0]
    grades = read_grades(folder.grades("rubric"))
    other = {"correct": "incorrect", "incorrect": "correct"}
    write_verdicts(folder, "judge", {key: other[grade.verdict] for key, grade in grades.items()})
    result = agree_graders(*opened)
    first = [row["headline"] for row in result["disagreements"]]
    assert first == sorted(first, reverse=True) and set(first) == {True, False}
    assert "\x1b" not in format_agreement(result, shown=1000)
    json.dumps(result, ensure_ascii=False).encode()
    row = result["disagreements"][0]
    assert row["verdicts"]["judge"]["reason"] == "judge says so" and row["question"]


def test_one_grader_or_an_unknown_one_is_an_error(opened: Opened) -> None:
    with pytest.raises(InputError, match="two graders"):
        agree_graders(*opened)
    write_verdicts(opened[0], "judge", read_verdicts(opened))
    with pytest.raises(InputError, match="did you mean 'judge'"):
        agree_graders(*opened, ["rubric", "jugde"])
    with pytest.raises(InputError, match="two graders"):
        agree_graders(*opened, ["rubric"])


def test_drawing_repeats_itself_and_grows(opened: Opened) -> None:
    few = draw_answers(*opened, 24)
    keys = read_sample(opened[0]).keys
    assert draw_answers(*opened) == few and read_sample(opened[0]).keys == keys
    assert sum(row["drawn"] for row in few["strata"]) == few["drawn"] == len(keys)
    assert {row["arm"] for row in few["strata"]} == {"sft.none", "rag-sft.oracle"}
    draw_answers(*opened, 60)
    assert set(keys) <= set(read_sample(opened[0]).keys), "what people graded is not lost when more are drawn"
    needed = [row["labels"] for row in few["needed"]]
    assert needed == sorted(needed, reverse=True) and needed[0] > needed[-1] > 0
    assert draw_answers(*opened, 60)["disagreement"].startswith("guessed")


@pytest.fixture
def reviewed(opened: Opened) -> tuple[Opened, dict[str, str]]:
    """A rubric harsh on arm b, people who are right, and a drawn sample that they graded."""
    truth = read_verdicts(opened)
    draw = random.Random("harsh")
    harsh = {
        answer.key: "incorrect" if answer.arm == "rag-sft.oracle" and draw.random() < 0.5 else truth[answer.key]
        for answer in list_compared(opened)
    }
    write_verdicts(opened[0], "rubric", harsh)  # of rows for one key the last counts
    draw_answers(*opened, 80)
    drawn = set(read_sample(opened[0]).keys)
    write_verdicts(opened[0], "human", {key: truth[key] for key in drawn}, "kim")
    return opened, truth


def measure_lift(opened: Opened, verdicts: Mapping[str, str]) -> float:
    shares: dict[str, dict[str, list[bool]]] = {"sft.none": {}, "rag-sft.oracle": {}}
    for answer in list_compared(opened):
        shares[answer.arm].setdefault(answer.question_id, []).append(verdicts[answer.key] == "correct")
    columns = [[sum(row) for row in cells.values()] for cells in shares.values()]
    totals = [[len(row) for row in cells.values()] for cells in shares.values()]
    return compare_paired(columns[0], totals[0], columns[1], totals[1]).lift


def test_the_corrected_lift_stands_beside_the_uncorrected(reviewed: tuple[Opened, dict[str, str]]) -> None:
    opened, truth = reviewed
    found = weigh_grades(opened[0], read_reviewable(*opened[:2]), *opened[1:])["corrected"]
    true_lift = measure_lift(opened, truth)
    own = {key: grade.verdict for key, grade in read_grades(opened[0].grades("rubric")).items()}
    assert found["uncorrected"]["lift"] == pytest.approx(measure_lift(opened, own), abs=1e-5)
    assert not found["uncorrected"]["ci95"][0] <= true_lift <= found["uncorrected"]["ci95"][1]
    assert found["ci95"][0] <= true_lift <= found["ci95"][1]
    assert abs(found["lift"] - true_lift) < abs(found["uncorrected"]["lift"] - true_lift)
    assert (found["labels"], found["answers"], found["reviewers"]) == (80, 192, ["kim"])
    assert found["disagreement_b"] > 10 > found["disagreement_a"]
    assert found["reason"] == "" and found["verdict"] == "improves"
    assert draw_answers(*opened)["disagreement"] == "measured"


def test_only_drawn_answers_count_as_labels(reviewed: tuple[Opened, dict[str, str]]) -> None:
    opened, truth = reviewed
    answers = read_reviewable(*opened[:2])
    before = describe_corrected(opened[0], answers, *opened[1:])
    drawn = set(read_sample(opened[0]).keys)
    others = [key for key in truth if key not in drawn][:60]
    write_verdicts(opened[0], "human", dict.fromkeys(others, "correct"), "kim")
    assert describe_corrected(opened[0], answers, *opened[1:]) == before


def test_answers_that_somebody_chose_correct_nothing(opened: Opened) -> None:
    write_verdicts(opened[0], "human", dict(list(read_verdicts(opened).items())[:90]), "kim")
    found = describe_corrected(opened[0], read_reviewable(*opened[:2]), *opened[1:])
    assert found["lift"] is None and "not drawn at random" in found["reason"]


def test_a_sample_serves_its_own_comparison_only(reviewed: tuple[Opened, dict[str, str]]) -> None:
    folder, experiment, config = reviewed[0]
    answers = read_reviewable(folder, experiment)
    for update, words in (({"b": "base.none"}, "not among"), ({"split": "all"}, "drawn from 192 answers")):
        changed = config.model_copy(update={"compare": config.compare.model_copy(update=update)})
        found = describe_corrected(folder, answers, experiment, changed)
        assert found["lift"] is None and words in found["reason"]
    write_verdicts(folder, "judge", read_verdicts(reviewed[0]))
    found = describe_corrected(folder, answers, experiment, config.model_copy(update={"grader": "judge"}))
    assert found["lift"] is None and "by the verdicts of 'rubric'" in found["reason"]


def test_people_who_graded_everything_need_no_sample(opened: Opened) -> None:
    truth = read_verdicts(opened, flip_some(0.2, arm="rag"))
    write_verdicts(opened[0], "human", truth, "kim")
    found = describe_corrected(opened[0], read_reviewable(*opened[:2]), *opened[1:])
    assert found["lift"] == pytest.approx(measure_lift(opened, truth))
    assert found["labels"] == found["answers"] == 192


def test_too_few_labels_say_why(opened: Opened) -> None:
    draw_answers(*opened, 60)
    write_verdicts(opened[0], "human", {read_sample(opened[0]).keys[0]: "correct"}, "kim")
    found = describe_corrected(opened[0], read_reviewable(*opened[:2]), *opened[1:])
    assert found["lift"] is None and "label 2 or more" in found["reason"] and found["verdict"] == "not estimable"


def test_nobody_graded_means_no_correction(opened: Opened) -> None:
    found = weigh_grades(opened[0], read_reviewable(*opened[:2]), *opened[1:])
    assert found == {"corrected": None, "agreement": None}


def test_two_reviewers_and_a_biased_judge_over_many_draws(opened: Opened) -> None:
    """Through the files' own functions: truth drawn anew each time, as the corrected lift must cover it."""
    _, _, config = opened
    answers = list_compared(opened)
    grades = read_grades(opened[0].grades("rubric"))
    covered, uncovered, repetitions = 0, 0, 60
    for number in range(repetitions):
        draw = random.Random(f"review {number}")
        hard = {answer.question_id: draw.betavariate(3, 1) for answer in answers}
        truth = {
            a.key: draw.random() < hard[a.question_id] * (1.0 if a.arm == "rag-sft.oracle" else 0.6) for a in answers
        }
        judged = {a.key: truth[a.key] and not (a.arm == "rag-sft.oracle" and draw.random() < 0.35) for a in answers}
        verdicts = {key: grades[key].__class__(key, "q", "correct" if said else "incorrect", "", "judge")
                    for key, said in judged.items()}  # fmt: skip
        drawn = draw.sample(answers, 90)
        people = {
            name: {a.key: grades[a.key].__class__(a.key, "q", "correct" if truth[a.key] ^ (draw.random() < 0.02)
                   else "incorrect", "", name) for a in drawn} for name in ("kim", "lee")
        }  # fmt: skip
        found = correct_judged(answers, verdicts, people, config)
        lift = 100 * 0.4 * 0.75  # mean of beta(3, 1) is 0.75
        covered += found.ci95[0] <= lift <= found.ci95[1]
        uncovered += found.uncorrected.ci95[0] <= lift <= found.uncorrected.ci95[1]
    assert covered >= 0.9 * repetitions > 0.5 * repetitions > uncovered


def test_from_the_command_line(tiny_experiment: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    run_experiment(open_run(str(tiny_experiment), path))
    call = CliRunner()
    with run_server(judge_by("incorrect")) as server:
        settings = ["--set", f"judge.url={server.url}", "--set", "judge.model=fake", "--set", "judge.votes=1"]
        graded = call.invoke(app, ["grade", str(path), "--grader", "judge", *settings])
        assert graded.exit_code == 0, graded.output
        asked = len(server.seen)
        assert call.invoke(app, ["grade", str(path), "--grader", "judge"]).exit_code == 0, "the judge is remembered"
        assert len(server.seen) == asked > 0
    assert len(recover_lines(path / "grades.judge.jsonl")) == 48
    assert reopen_run(path).config.grader == "rubric"
    agreed = call.invoke(app, ["agree", str(path), "--json"])
    assert agreed.exit_code == 0 and json.loads(agreed.stdout)["pairs"][0]["agreed"] is not None
    assert "agreement.json" in call.invoke(app, ["agree", str(path), "--graders", "rubric,judge"]).output
    drawn = call.invoke(app, ["draw", str(path), "--labels", "8", "--json"])
    assert drawn.exit_code == 0 and json.loads(drawn.stdout)["drawn"] >= 4
    write_verdicts(RunFolder(path), "human", dict.fromkeys(read_sample(RunFolder(path)).keys, "incorrect"), "kim")
    comparison = compare_arms(reopen_run(path))
    assert comparison["corrected"]["labels"] == json.loads(drawn.stdout)["drawn"]
    assert comparison["agreement"]["warnings"]
    assert "review" in call.invoke(app, ["draw", str(path)]).output
    refused = call.invoke(app, ["grade", str(path), "--grader", "human"])
    assert isinstance(refused.exception, InputError) and "raglift review" in str(refused.exception)
