"""How far graders agree: confusion table, Cohen's kappa, Krippendorff's alpha."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special


@dataclass(frozen=True)
class Agreement:
    """Two graders over the same answers.

    `table[i][j]` counts answers that the first called `labels[i]` and the second `labels[j]`;
    `left_out` answers lacked a verdict of one. `agreed` is percent. `kappa` is None where it is not
    defined (no answers, or both graders used a single, same label), `kappa_ci95` also where its standard
    error is not.
    """

    labels: tuple[Any, ...]
    table: tuple[tuple[int, ...], ...]
    answers: int
    left_out: int
    agreed: float | None
    kappa: float | None
    kappa_ci95: tuple[float, float] | None


def measure_agreement(
    first: Sequence[Hashable | None],
    second: Sequence[Hashable | None],
    *,
    clusters: Sequence[Hashable] | None = None,
) -> Agreement:
    """Confusion table and Cohen's kappa (1960) with its 95 % interval.

    Args:
        first, second: labels of the same answers in the same order; None where there is no verdict.
        clusters: question of each answer. With it the interval is the delete-one-question jackknife's,
            since answers to one question are wrong together; without it, Fleiss, Cohen & Everitt's.

    Raises ValueError for unequal lengths.
    """
    _check_lengths(first, second, clusters)
    kept = [place for place in range(len(first)) if first[place] is not None and second[place] is not None]
    used = {first[place] for place in kept} | {second[place] for place in kept}
    labels = tuple(sorted(used, key=str))
    index = {label: place for place, label in enumerate(labels)}
    pairs = np.array([(index[first[place]], index[second[place]]) for place in kept], dtype=int).reshape(-1, 2)
    table = _count_pairs(pairs, len(labels))
    kappa = compute_kappa(table)
    interval = None
    if kappa is not None and clusters is None:
        interval = _find_kappa_interval(table, kappa)
    elif kappa is not None and clusters is not None:
        interval = _jackknife_kappa(pairs, [clusters[place] for place in kept], len(labels))
    return Agreement(
        labels=labels,
        table=tuple(tuple(row) for row in table.tolist()),
        answers=len(kept),
        left_out=len(first) - len(kept),
        agreed=100.0 * float(np.trace(table)) / len(kept) if kept else None,
        kappa=kappa,
        kappa_ci95=interval,
    )


def _check_lengths(first: Sequence[Any], second: Sequence[Any], clusters: Sequence[Any] | None) -> None:
    if len(first) != len(second):
        raise ValueError(f"{len(first)} verdicts against {len(second)}: two graders need the same answers")
    if clusters is not None and len(clusters) != len(first):
        raise ValueError(f"{len(clusters)} clusters for {len(first)} answers: they must be equal")


def _count_pairs(pairs: npt.NDArray[np.int64], labels: int) -> npt.NDArray[np.int64]:
    table = np.zeros((labels, labels), dtype=np.int64)
    np.add.at(table, (pairs[:, 0], pairs[:, 1]), 1)
    return table


def compute_kappa(table: npt.ArrayLike) -> float | None:
    """Cohen's kappa of a square table of counts, shape (labels, labels): (p_o - p_e) / (1 - p_e).

    None for an empty table or where chance agreement is complete (p_e = 1).
    """
    counts = np.asarray(table, dtype=float)
    total = counts.sum()
    if total == 0:
        return None
    shares = counts / total
    chance = float(shares.sum(axis=1) @ shares.sum(axis=0))
    return (float(np.trace(shares)) - chance) / (1 - chance) if chance < 1 else None


def _find_kappa_interval(table: npt.NDArray[np.int64], kappa: float) -> tuple[float, float]:
    """Large-sample interval: Fleiss, Cohen & Everitt (1969, Psychological Bulletin 72:323)."""
    total = int(table.sum())
    shares = table / total
    rows, columns = shares.sum(axis=1), shares.sum(axis=0)
    chance = float(rows @ columns)
    diagonal = np.diag(shares)
    agreeing = diagonal * (1 - (rows + columns) * (1 - kappa)) ** 2
    crossed = shares * (columns[:, None] + rows[None, :]) ** 2
    wrong = (1 - kappa) ** 2 * (crossed.sum() - np.trace(crossed))
    variance = float(agreeing.sum() + wrong - (kappa - chance * (1 - kappa)) ** 2) / (total * (1 - chance) ** 2)
    half = float(special.ndtri(0.975)) * math.sqrt(max(0.0, variance))
    return max(-1.0, kappa - half), min(1.0, kappa + half)


def _jackknife_kappa(
    pairs: npt.NDArray[np.int64], clusters: Sequence[Hashable], labels: int
) -> tuple[float, float] | None:
    """Delete-one-cluster jackknife (Efron & Tibshirani 1993, chapter 11) with Student's t."""
    members: dict[Hashable, list[int]] = {}
    for place, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(place)
    table = _count_pairs(pairs, labels)
    without = [compute_kappa(table - _count_pairs(pairs[places], labels)) for places in members.values()]
    kappa = compute_kappa(table)
    size = len(without)
    if size < 2 or kappa is None or any(value is None for value in without):
        return None
    values = np.sort(np.array(without, dtype=float))
    error = math.sqrt((size - 1) / size * math.fsum(((values - values.mean()) ** 2).tolist()))
    half = float(special.stdtrit(size - 1, 0.975)) * error
    return max(-1.0, kappa - half), min(1.0, kappa + half)


def compute_alpha(verdicts: Sequence[Sequence[Hashable | None]]) -> float | None:
    """Krippendorff's alpha for nominal labels: one row per grader, None where it gave no verdict.

    Krippendorff (2011, "Computing Krippendorff's Alpha-Reliability"), from the coincidence matrix:
    alpha = 1 - (n - 1) · sum_{c≠k} o_ck / sum_{c≠k} n_c n_k. Answers with fewer than two verdicts
    tell nothing and drop out. None where it is not defined: nothing to pair, or one label only.
    Raises ValueError when the graders' rows differ in length.
    """
    lengths = {len(row) for row in verdicts}
    if len(lengths) > 1:
        raise ValueError(f"graders have {sorted(lengths)} verdicts: every row must hold the same answers")
    labels = {
        label: place for place, label in enumerate(dict.fromkeys(x for row in verdicts for x in row if x is not None))
    }
    counts = np.zeros((lengths.pop() if lengths else 0, len(labels)))
    for row in verdicts:
        for answer, label in enumerate(row):
            if label is not None:
                counts[answer, labels[label]] += 1
    raters = counts.sum(axis=1)
    counts, raters = counts[raters >= 2], raters[raters >= 2]
    weights = counts / (raters[:, None] - 1) if raters.size else counts
    differing = float((weights * (raters[:, None] - counts)).sum())
    margins = counts.sum(axis=0)
    total = float(margins.sum())
    expected = total**2 - float((margins**2).sum())
    return 1 - (total - 1) * differing / expected if expected > 0 else None
