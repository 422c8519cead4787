"""The `compare` stage: graded answers into per-question counts, counts into `comparison.json`."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raglift.config import Config
from raglift.errors import InputError
from raglift.records import SPLITS, Answer, Experiment, Grade, Retrieved
from raglift.retrieval.index import find_duplicates
from raglift.retrieval.ranking import Ranking
from raglift.statistics.comparison import Comparison, compare_paired
from raglift.statistics.counts import read_counts
from raglift.statistics.effects import Grid, estimate_effects
from raglift.statistics.multiplicity import adjust_holm
from raglift.statistics.proportions import Share, estimate_clustered_share, estimate_share

CONTRASTS = (  # what each pair of arms tells, beside the headline
    ("context", "base.none", "base.oracle"),
    ("context", "sft.none", "sft.oracle"),
    ("context", "rag-sft.none", "rag-sft.oracle"),
    ("tuning", "base.none", "sft.none"),
    ("tuning", "base.oracle", "sft.oracle"),
    ("tuning", "base.oracle", "rag-sft.oracle"),
    ("tuning", "sft.oracle", "rag-sft.oracle"),
    ("retrieval", "base.oracle", "base.retrieved"),
    ("retrieval", "sft.oracle", "sft.retrieved"),
    ("retrieval", "rag-sft.oracle", "rag-sft.retrieved"),
    ("distractor", "base.oracle", "base.distractor"),
    ("distractor", "sft.oracle", "sft.distractor"),
    ("distractor", "rag-sft.oracle", "rag-sft.distractor"),
    ("misleading", "base.none", "base.irrelevant"),
    ("misleading", "sft.none", "sft.irrelevant"),
    ("misleading", "rag-sft.none", "rag-sft.irrelevant"),
)


@dataclass
class Tally:
    """Of one arm: seed -> question id -> verdict counts, plus how many answers were cut."""

    verdicts: dict[int, dict[str, Counter[str]]]
    truncated: Counter[str]

    def count(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Correct and scored answers, each of shape (seeds, questions)."""
        rows = [[self.verdicts[seed][name] for name in ids] for seed in sorted(self.verdicts)]
        correct = np.array([[cell["correct"] for cell in row] for row in rows], dtype=int).reshape(len(rows), -1)
        wrong = np.array([[cell["incorrect"] for cell in row] for row in rows], dtype=int).reshape(len(rows), -1)
        return correct, correct + wrong

    def sum_unscored(self, ids: Sequence[str]) -> int:
        return sum(seed[name]["unscored"] for seed in self.verdicts.values() for name in ids)


def compare_run(
    experiment: Experiment,
    config: Config,
    answers: Sequence[Answer],
    grades: Mapping[str, Grade],
    ranking: Ranking | None = None,
) -> dict[str, Any]:
    """Everything that `comparison.json` holds; shares, accuracies and lifts in points (0 to 100).

    Args:
        answers: the planned answers of the run.
        grades: by answer key; an answer without a grade counts as unscored.
        ranking: the passages that the search ranks first for each question, where a context searches.

    Raises InputError when the two headline arms do not hold the same questions, naming them.
    """
    tallies = tally_answers(answers, grades)
    arm_a, arm_b, split = config.compare.a, config.compare.b, config.compare.split
    check_same_questions(experiment, config, tallies, (arm_a, arm_b))
    headline = compare_arms(tallies, arm_a, arm_b, list_ids(experiment, split), config)
    splits = [name for name in SPLITS if list_ids(experiment, name)]
    result = {
        **headline,
        "split": split,
        "by_split": {
            name: compare_arms(tallies, arm_a, arm_b, list_ids(experiment, name), config)
            for name in splits
            if name != "absent"
        },
        "arms": {arm: describe_arm(tally, experiment, splits) for arm, tally in tallies.items() if is_accuracy(arm)},
        "contrasts": list_contrasts(tallies, experiment, config, splits),
        "effects": describe_effects(tallies, experiment, config, splits),
        "retrieval": describe_retrieval(tallies, experiment, config, ranking),
        "behaviour": describe_behaviour(tallies, experiment, answers, grades),
        "table": list_table(tallies, experiment),
        "grader": config.grader,
        "unscored": sum(tally.sum_unscored(list(_all_ids(tally))) for tally in tallies.values()),
        "samples": config.answer.samples,
        "seeds": config.list_seeds(),
    }
    return round_numbers(result)


def tally_answers(answers: Sequence[Answer], grades: Mapping[str, Grade]) -> dict[str, Tally]:
    """Verdict counts per arm, seed and question."""
    tallies: dict[str, Tally] = {}
    for answer in answers:
        tally = tallies.setdefault(answer.arm, Tally(defaultdict(lambda: defaultdict(Counter)), Counter()))
        grade = grades.get(answer.key)
        tally.verdicts[answer.seed][answer.question_id][grade.verdict if grade else "unscored"] += 1
        tally.truncated[answer.question_id] += answer.truncated
    return tallies


def list_ids(experiment: Experiment, split: str) -> list[str]:
    """Question ids of a split; `all` means every question that has a passage."""
    return [q.id for q in experiment.questions if q.split == split or (split == "all" and q.split != "absent")]


def is_accuracy(arm: str) -> bool:
    """Answers beside an altered passage are right or wrong only by whom one follows: they have no accuracy."""
    return not arm.endswith(".counterfactual")


def check_same_questions(
    experiment: Experiment, config: Config, tallies: Mapping[str, Tally], arms: Sequence[str]
) -> None:
    """InputError naming the questions that an arm lacks answers to."""
    for arm in arms:
        if arm not in tallies:
            raise InputError(f"arm '{arm}'", "no answers of it in this run", "an arm that was run", _list(tallies))
        for seed in config.list_seeds():
            cells = tallies[arm].verdicts.get(seed, {})
            missing = [
                question.id
                for question in experiment.questions
                if sum(cells.get(question.id, Counter()).values()) < config.answer.samples
                and (question.counterfactual is not None or is_accuracy(arm))
            ]
            if missing:
                shown = ", ".join(missing[:8]) + (" …" if len(missing) > 8 else "")
                raise InputError(
                    f"arm '{arm}', seed {seed}",
                    f"answers missing for {len(missing)} question(s): {shown}",
                    "both arms complete: unequal questions are never compared",
                    "raglift answer RUN_DIR makes what is missing",
                )


def check_same_texts(experiment: Experiment, other: Experiment, split: str) -> None:
    """InputError naming the questions of a split that two experiments do not share."""
    asked = [set(list_ids(one, split)) for one in (experiment, other)]
    mine, theirs = (
        {question.id: question.question for question in one.questions if question.id in ids}
        for one, ids in zip((experiment, other), asked, strict=True)
    )
    unequal = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    if unequal:
        raise InputError(
            f"runs of '{experiment.name}' and '{other.name}'",
            f"{len(unequal)} {split} question(s) differ: {', '.join(unequal[:8])}",
            "the same questions in both runs: unequal questions are never compared",
        )


def compare_arms(
    tallies: Mapping[str, Tally], arm_a: str, arm_b: str, ids: Sequence[str], config: Config
) -> dict[str, Any]:
    """The contract's keys for b against a over some questions."""
    counts_a, counts_b = tallies[arm_a].count(ids), tallies[arm_b].count(ids)
    comparison = compare_paired(*counts_a, *counts_b, ids=ids, margin=config.compare.margin, seed=config.seed)
    return describe_comparison(comparison, arm_a, arm_b)


def describe_comparison(comparison: Comparison, name_a: str, name_b: str) -> dict[str, Any]:
    """A Comparison in the form of `comparison.json`."""
    plain = comparison.as_dict()
    sides = {
        side: {
            "arm": name,
            "accuracy": plain.pop(f"accuracy_{side}"),
            "correct": plain.pop(f"correct_{side}"),
            "total": plain.pop(f"total_{side}"),
            "questions": plain["questions"],
        }
        for side, name in (("a", name_a), ("b", name_b))
    }
    return {**sides, **plain}


def describe_arm(tally: Tally, experiment: Experiment, splits: Sequence[str]) -> dict[str, Any]:
    """Accuracy of one arm by split, with its interval and what could not be scored."""
    described = {}
    for split in splits:
        ids = list_ids(experiment, split)
        correct, scored = tally.count(ids)
        described[split] = {
            **describe_share(estimate_clustered_share(correct, scored, ids), "accuracy"),
            "questions": len(ids),
            "correct": int(correct.sum()),
            "total": int(scored.sum()),
            "unscored": tally.sum_unscored(ids),
            "truncated": sum(tally.truncated[name] for name in ids),
        }
    return described


def describe_share(share: Share, name: str = "value") -> dict[str, Any]:
    """A share in percent under `name` with `ci95`."""
    return {name: share.percent, "ci95": list(share.ci95) if share.ci95 else None}


def list_contrasts(
    tallies: Mapping[str, Tally], experiment: Experiment, config: Config, splits: Sequence[str]
) -> list[dict[str, Any]]:
    """The headline and every pair that tells something, with Holm's correction over all but the headline."""
    pairs = [("headline", config.compare.a, config.compare.b)]
    pairs += [pair for pair in CONTRASTS if pair[1:] != (config.compare.a, config.compare.b)]
    rows = []
    for split in dict.fromkeys((config.compare.split, *(name for name in splits if name != "absent"))):
        for kind, arm_a, arm_b in pairs if split in splits and split != "absent" else pairs[:1]:
            if arm_a in tallies and arm_b in tallies:
                found = compare_arms(tallies, arm_a, arm_b, list_ids(experiment, split), config)
                rows.append(
                    {
                        "name": f"{arm_a} → {arm_b}",
                        "kind": "by split" if kind == "headline" and split != config.compare.split else kind,
                        "a": arm_a,
                        "b": arm_b,
                        "split": split,
                        **{key: found[key] for key in ("lift", "ci95", "p_value", "verdict", "questions")},
                    }
                )
    others = [row for row in rows if row["kind"] != "headline"]
    for row, adjusted in zip(others, adjust_holm([row["p_value"] for row in others]), strict=True):
        row["p_holm"] = adjusted
    for row in rows:
        row.setdefault("p_holm", row["p_value"])
    return rows


def describe_effects(
    tallies: Mapping[str, Tally], experiment: Experiment, config: Config, splits: Sequence[str]
) -> dict[str, Any]:
    """Tuning, context and their interaction for each tuned model against the base, where the grid has all four."""
    described: dict[str, Any] = {}
    for split in (name for name in splits if name != "absent"):
        ids = list_ids(experiment, split)
        for tuning in ("sft", "rag-sft"):
            arms = ["base.none", "base.oracle", f"{tuning}.none", f"{tuning}.oracle"]
            if all(arm in tallies for arm in arms):
                grid = Grid(*(read_counts(*tallies[arm].count(ids), arm, ids) for arm in arms))
                effects = estimate_effects(grid, ids=ids, margin=config.compare.margin, seed=config.seed)
                described.setdefault(split, {})[tuning] = effects.as_dict()
    return described


def describe_retrieval(
    tallies: Mapping[str, Tally],
    experiment: Experiment,
    config: Config,
    ranking: Ranking | None,
) -> dict[str, Any] | None:
    """Hit rates, and what wrong passages cost: oracle minus retrieved, all, on hits and on misses.

    A passage with the right one's very text counts as right.
    """
    if ranking is None:
        return None
    k = config.retrieval.k
    answerable = [q for q in experiment.questions if q.passage_id is not None]
    same = {name: set(group) for group in find_duplicates(experiment.passages) for name in group}
    right = {q.id: same.get(str(q.passage_id), {q.passage_id}) for q in answerable}
    places = {q.id: find_place(right[q.id], ranking.rows[q.question]) for q in answerable}
    reciprocal = [1 / place if place else 0.0 for place in places.values()]
    absent = [q for q in experiment.questions if q.split == "absent"]
    described: dict[str, Any] = {
        f"hit_at_{n}": describe_share(estimate_share(sum(0 < p <= n for p in places.values()), len(places)))
        for n in (1, 3)
    }
    described["mrr"] = describe_mean(reciprocal)
    rejected = sum(not ranking.find(question.question, k) for question in absent)
    described["rejected"] = describe_share(estimate_share(rejected, len(absent)))
    handed = {q.id: {row.passage_id for row in ranking.find(q.question, k)} for q in answerable}
    hits = [q.id for q in answerable if right[q.id] & handed[q.id]]
    misses = [q.id for q in answerable if not right[q.id] & handed[q.id]]
    described["loss"] = {
        tuning: {
            name: compare_arms(tallies, f"{tuning}.oracle", f"{tuning}.retrieved", ids, config)
            for name, ids in (("all", [*hits, *misses]), ("hit", hits), ("miss", misses))
            if ids
        }
        for tuning in ("base", "sft", "rag-sft")
        if f"{tuning}.oracle" in tallies and f"{tuning}.retrieved" in tallies
    }
    return described


def find_place(right: Collection[str | None], ranked: Sequence[Retrieved]) -> int:
    """1-based rank of the first right passage; 0 when none is there."""
    return next((i for i, row in enumerate(ranked, start=1) if row.passage_id in right), 0)


def describe_mean(values: Sequence[float]) -> dict[str, Any]:
    """Mean in percent with a normal interval over questions (MRR lies between 0 and 1 question by question)."""
    if len(values) < 2:
        return {"value": 100 * values[0] if values else None, "ci95": None}
    mean = float(np.mean(values))
    half = 1.96 * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return {"value": 100 * mean, "ci95": [100 * max(0.0, mean - half), 100 * min(1.0, mean + half)]}


def describe_behaviour(
    tallies: Mapping[str, Tally], experiment: Experiment, answers: Sequence[Answer], grades: Mapping[str, Grade]
) -> dict[str, Any]:
    """What a model does with what it is handed: altered passages, nothing to find, a wrong passage alone."""
    follows: dict[str, Counter[str]] = defaultdict(Counter)
    for answer in answers:
        grade = grades.get(answer.key)
        if grade and grade.follows:
            follows[answer.arm][grade.follows] += 1
    absent = list_ids(experiment, "absent")
    behaviour: dict[str, Any] = {"counterfactual": {}, "absent": {}, "irrelevant": {}}
    for arm, counts in follows.items():
        total = sum(counts.values())
        behaviour["counterfactual"][arm] = {
            "follows_passage": 100 * counts["passage"] / total,
            "follows_memory": 100 * counts["memory"] / total,
            "other": 100 * counts["other"] / total,
            "answers": total,
        }
    for arm, tally in tallies.items():
        if absent and is_accuracy(arm):
            correct, scored = tally.count(absent)
            share = estimate_clustered_share(correct, scored, absent).percent
            if share is not None:  # beside distractors no such question is asked
                behaviour["absent"][arm] = {"declines": share, "invents": 100 - share}
    for tuning in ("base", "sft", "rag-sft"):
        without, wrong = f"{tuning}.none", f"{tuning}.irrelevant"
        if without in tallies and wrong in tallies:
            behaviour["irrelevant"][wrong] = measure_misled(tallies[without], tallies[wrong], experiment)
    return behaviour


def measure_misled(without: Tally, wrong: Tally, experiment: Experiment) -> dict[str, Any]:
    """Of the `questions` mostly right without a passage, the percent that are mostly wrong beside a wrong one."""
    ids = list_ids(experiment, "all")
    shares = []
    for tally in (without, wrong):
        correct, scored = (table.sum(axis=0) for table in tally.count(ids))
        shares.append(np.divide(correct, scored, out=np.full(len(ids), np.nan), where=scored > 0))
    known = shares[0] > 0.5
    misled = 100 * float(np.mean(shares[1][known] < 0.5)) if known.any() else None
    return {"misled": misled, "questions": int(known.sum())}


def list_table(tallies: Mapping[str, Tally], experiment: Experiment) -> list[dict[str, Any]]:
    """One row a question: correct and scored answers in each arm."""
    rows = []
    for question in experiment.questions:
        cells = {}
        for arm, tally in tallies.items():
            correct, scored = (int(table.sum()) for table in tally.count([question.id]))
            if is_accuracy(arm) and scored:
                cells[arm] = {"correct": correct, "total": scored}
        rows.append({"question_id": question.id, "question": question.question, "split": question.split, "arms": cells})
    return rows


def round_numbers(values: dict[str, Any]) -> dict[str, Any]:
    """Floats to 6 decimals (p-values keep 8); what is not finite becomes None, for JSON has no NaN."""
    return {key: _round_value(item, is_p=str(key).startswith("p_")) for key, item in values.items()}


def _round_value(value: Any, is_p: bool = False) -> Any:
    if isinstance(value, dict):
        return round_numbers(value)
    if isinstance(value, list | tuple):
        return [_round_value(item) for item in value]
    if isinstance(value, float | np.floating):
        if not math.isfinite(value):
            return None
        return float(f"{value:.10g}") if is_p else round(float(value), 6)
    return int(value) if isinstance(value, np.integer) else value


def _all_ids(tally: Tally) -> set[str]:
    return {name for seed in tally.verdicts.values() for name in seed}


def _list(names: Mapping[str, Any]) -> str:
    return "arms of this run: " + ", ".join(sorted(names))
