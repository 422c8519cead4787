"""How far the graders of a run agree, where they differ, and whether the headline rests on one that can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from raglift.comparison import round_numbers
from raglift.config import Config
from raglift.errors import InputError, suggest_name
from raglift.grading.grades import read_grades
from raglift.grading.review_items import choose_compared, read_reviewable
from raglift.records import Answer, Experiment, Grade
from raglift.runfolder import RunFolder, recover_lines, write_json
from raglift.sanitization import clean_line, clean_values, quote_command
from raglift.statistics.agreement import Agreement, compute_alpha, measure_agreement

LOW_AGREEMENT = 0.667  # Krippendorff (2004, Human Communication Research 30:411): below it, no conclusions
FEWEST_ANSWERS = 20  # graded by both; with fewer, agreement says little
SCORED = ("correct", "incorrect")
HUMAN = "human"

Verdicts = dict[str, Grade]  # by answer key


@dataclass(frozen=True)
class Grading:
    """The graders of a run by name: `human` is the reviewers' majority, `human:NAME` each of several."""

    answers: tuple[Answer, ...]
    compared: frozenset[str]
    verdicts: dict[str, Verdicts]
    reviewers: tuple[str, ...]

    def list_raters(self) -> list[str]:
        """Who graded independently: the majority of several reviewers did not."""
        pooled = len(self.reviewers) > 1 and any(name.startswith(f"{HUMAN}:") for name in self.verdicts)
        return [name for name in self.verdicts if name != HUMAN or not pooled]

    def list_pairs(self) -> list[tuple[str, str]]:
        """Any two graders, but not the reviewers' majority with its own members."""
        return [
            (a, b)
            for a, b in combinations(self.verdicts, 2)
            if not (HUMAN in (a, b) and a.partition(":")[0] == b.partition(":")[0])
        ]

    def list_labels(self, grader: str, answers: Sequence[Answer]) -> list[str | None]:
        """Verdicts in the answers' order; None where the grader gave none."""
        known = self.verdicts[grader]
        found = [known.get(answer.key) for answer in answers]
        return [grade.verdict if grade is not None and grade.verdict in SCORED else None for grade in found]


def agree_graders(
    folder: RunFolder, experiment: Experiment, config: Config, names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Measure the agreement of a run's graders and write `agreement.json`.

    Args:
        names: graders, for example `rubric`, `judge`, `human`, `human:NAME`; None for all that graded.

    Raises InputError for fewer than two graders or a name that graded nothing.
    """
    grading = gather_grading(folder, read_reviewable(folder, experiment), experiment, config, names)
    if len(grading.list_pairs()) == 0:
        raise InputError(
            str(folder.path),
            "grades of " + (", ".join(grading.verdicts) or "nobody"),
            "two graders",
            quote_command("raglift", "grade", folder.path, "--grader", "judge")
            + ", or "
            + quote_command("raglift", "review", folder.path),
        )
    result = describe_agreement(grading, experiment, config)
    write_json(locate_agreement(folder), result)
    return result


def locate_agreement(folder: RunFolder) -> Path:
    """Where a run's agreement lies."""
    return folder.path / "agreement.json"


def gather_grading(
    folder: RunFolder,
    answers: Sequence[Answer],
    experiment: Experiment,
    config: Config,
    names: Sequence[str] | None = None,
) -> Grading:
    """Read the verdicts on the answers, by grader. Raises InputError for a grader without grades."""
    files = sorted(folder.path.glob("grades.*.jsonl"))
    found = {file.name.removeprefix("grades.").removesuffix(".jsonl"): read_grades(file) for file in files}
    reviewers = read_reviewers(folder)
    if len(reviewers) > 1 or any(name.startswith(f"{HUMAN}:") for name in names or ()):
        found.update({f"{HUMAN}:{author}": verdicts for author, verdicts in reviewers.items()})
    for name in names or ():
        if name not in found:
            raise InputError(f"grader '{name}'", "no grades of it in this run", "a grader of this run",
                             suggest_name(name, found))  # fmt: skip
    chosen = {name: found[name] for name in dict.fromkeys(names or found)}
    if names is not None and HUMAN in names and len(reviewers) > 1:
        chosen.update({name: found[name] for name in found if name.startswith(f"{HUMAN}:")})
    compared = frozenset(answer.key for answer in choose_compared(answers, experiment, config))
    return Grading(tuple(answers), compared, chosen, tuple(reviewers))


def read_reviewers(folder: RunFolder) -> dict[str, Verdicts]:
    """Each reviewer's own verdicts; the last row of an author for a key counts."""
    reviewers: dict[str, Verdicts] = {}
    for row in recover_lines(folder.grades(HUMAN)):
        author, key = str(row.get("author") or ""), row.get("key")
        if author and isinstance(key, str):
            verdict, reason = row.get("verdict", "unscored"), str(row.get("reason") or "")
            grade = Grade(key, str(row.get("question_id")), verdict, reason, f"{HUMAN}:{author}")
            reviewers.setdefault(author, {})[key] = grade
    return dict(sorted(reviewers.items()))


def describe_agreement(grading: Grading, experiment: Experiment, config: Config) -> dict[str, Any]:
    """What `agreement.json` holds."""
    pairs = [describe_pair(grading, a, b) for a, b in grading.list_pairs()]
    raters = grading.list_raters()
    alpha = compute_alpha([grading.list_labels(name, grading.answers) for name in raters])
    result = {
        "headline": {"grader": config.grader, **config.compare.model_dump(include={"a", "b", "split"})},
        "graders": {name: count_verdicts(grading, name) for name in grading.verdicts},
        "pairs": pairs,
        "alpha": {"value": alpha, "graders": raters},
        "warnings": list_warnings(pairs, config.grader),
        "disagreements": list_disagreements(grading, experiment),
    }
    return round_numbers(result)


def count_verdicts(grading: Grading, name: str) -> dict[str, int]:
    """How many answers a grader called what."""
    known = grading.verdicts[name]
    counts: Counter[str] = Counter(known[answer.key].verdict for answer in grading.answers if answer.key in known)
    return {"answers": counts.total(), **{verdict: counts[verdict] for verdict in (*SCORED, "unscored")}}


def describe_pair(grading: Grading, a: str, b: str) -> dict[str, Any]:
    """Confusion table and kappa of two graders over all answers, and kappa over the headline's alone."""
    headline = [answer for answer in grading.answers if answer.key in grading.compared]
    whole, part = (measure_pair(grading, a, b, answers) for answers in (grading.answers, headline))
    table = dict.fromkeys(((first, second) for first in SCORED for second in SCORED), 0)
    for i, first in enumerate(whole.labels):
        for j, second in enumerate(whole.labels):
            table[first, second] = whole.table[i][j]
    return {
        "a": a,
        "b": b,
        "labels": list(SCORED),
        "table": [[table[first, second] for second in SCORED] for first in SCORED],
        "left_out": whole.left_out,
        **describe_kappa(whole),
        "headline": describe_kappa(part),
    }


def measure_pair(grading: Grading, a: str, b: str, answers: Sequence[Answer]) -> Agreement:
    """Agreement over some answers; those to one question may be wrong together, hence the clusters."""
    labels = (grading.list_labels(name, answers) for name in (a, b))
    return measure_agreement(*labels, clusters=[answer.question_id for answer in answers])


def describe_kappa(found: Agreement) -> dict[str, Any]:
    """Of `agreement.json`: answers that both graded, those they agree on, Cohen's kappa with its interval."""
    return {
        "answers": found.answers,
        "agreed": found.agreed,
        "kappa": found.kappa,
        "kappa_ci95": list(found.kappa_ci95) if found.kappa_ci95 else None,
    }


def list_warnings(pairs: Sequence[Mapping[str, Any]], headline: str) -> list[str]:
    """Why the headline's grader may not be trusted.

    A machine is measured against people where they graded, else against other machines; people against each other.
    """
    mine = [pair for pair in pairs if headline in (pair["a"], pair["b"])]
    with_people = [pair for pair in mine if HUMAN in (pair["a"], pair["b"])]
    if headline == HUMAN:
        mine = [pair for pair in pairs if all(pair[side].startswith(f"{HUMAN}:") for side in ("a", "b"))]
    warnings = []
    for pair in (with_people or mine) if headline != HUMAN else mine:
        on_headline = pair["headline"]["answers"] >= FEWEST_ANSWERS
        measured = pair["headline"] if on_headline else pair
        where = "of the headline's answers" if on_headline else "answers"
        both = f"'{pair['a']}' and '{pair['b']}'"
        if measured["answers"] < FEWEST_ANSWERS:
            warnings.append(
                f"the headline rests on '{headline}': {both} share {measured['answers']} graded answers, "
                f"too few (under {FEWEST_ANSWERS}) to tell how far it can be trusted"
            )
        elif measured["kappa"] is not None and measured["kappa"] < LOW_AGREEMENT:
            warnings.append(
                f"the headline rests on '{headline}', but {both} agree poorly: kappa {format_kappa(measured)}, "
                f"{measured['agreed']:.1f} % of {measured['answers']} {where} (below {LOW_AGREEMENT} "
                "no conclusion should rest on it)"
            )
    return warnings


def list_disagreements(grading: Grading, experiment: Experiment) -> list[dict[str, Any]]:
    """Every answer on which two graders differ, the headline's first."""
    questions = {question.id: question.question for question in experiment.questions}
    rows = []
    for answer in sorted(grading.answers, key=lambda answer: answer.key not in grading.compared):
        given = {name: known[answer.key] for name, known in grading.verdicts.items() if answer.key in known}
        if len({grade.verdict for grade in given.values() if grade.verdict in SCORED}) > 1:
            rows.append(
                {
                    "key": answer.key,
                    "headline": answer.key in grading.compared,
                    "question_id": answer.question_id,
                    "question": questions.get(answer.question_id, ""),
                    "arm": answer.arm,
                    "seed": answer.seed,
                    "sample": answer.sample,
                    "text": answer.text,
                    "verdicts": {n: {"verdict": g.verdict, "reason": g.reason} for n, g in given.items()},
                }
            )
    return [clean_values(row) for row in rows]


def summarize_agreement(
    folder: RunFolder, answers: Sequence[Answer], experiment: Experiment, config: Config
) -> dict[str, Any] | None:
    """Pairs and warnings for `comparison.json`; None where one grader alone has graded."""
    grading = gather_grading(folder, answers, experiment, config)
    pairs = [describe_pair(grading, a, b) for a, b in grading.list_pairs()]
    return {"pairs": pairs, "warnings": list_warnings(pairs, config.grader)} if pairs else None


def format_agreement(result: Mapping[str, Any], shown: int = 5) -> str:
    """Plain lines for a terminal."""
    lines = []
    for pair in result["pairs"]:
        if pair["answers"] == 0:
            lines.append(f"{pair['a']} / {pair['b']}: no answer graded by both")
            continue
        lines.append(
            f"{pair['a']} / {pair['b']}: {pair['agreed']:.1f} % of {pair['answers']} answers agree, "
            f"Cohen's kappa {format_kappa(pair)}"
        )
        width = max(len(pair["a"]), 5) + len(" incorrect")
        lines.append(" " * width + "".join(f"  {pair['b']} {label}" for label in pair["labels"]))
        for label, row in zip(pair["labels"], pair["table"], strict=True):
            cells = (f"  {count:>{len(pair['b']) + 1 + len(name)}}" for count, name in zip(row, SCORED, strict=True))
            lines.append(f"{pair['a'] + ' ' + label:<{width}}" + "".join(cells))
    alpha = result["alpha"]
    if alpha["value"] is not None and len(alpha["graders"]) > 2:
        lines.append(f"Krippendorff's alpha of {', '.join(alpha['graders'])}: {alpha['value']:.3f}")
    lines += [f"warning: {warning}" for warning in result["warnings"]]
    differing = result["disagreements"]
    lines.append(f"{len(differing)} answers on which graders differ" + (", the headline's first:" if differing else ""))
    for row in differing[:shown]:
        said = ", ".join(f"{name} {given['verdict']}" for name, given in row["verdicts"].items())
        lines.append(f"  {row['question_id']} {row['arm']} [{said}] {clean_line(row['text'])[:100]}")
    return "\n".join(lines)


def format_kappa(measured: Mapping[str, Any]) -> str:
    """`0.712 [0.550, 0.874]`, or why there is none."""
    if measured["kappa"] is None:
        return "undefined (one label only)"
    interval = measured["kappa_ci95"]
    return f"{measured['kappa']:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
