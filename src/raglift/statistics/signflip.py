"""Sign-flip permutation test of "the mean difference over questions is 0".

Under the hypothesis each question's difference is as likely to carry one sign as the other, so
the differences are compared with all 2^m ways to flip them (Fisher 1935, The Design of
Experiments, section 21). Questions without a difference change nothing and drop out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

EXACT_TEST = "exact sign-flip permutation over questions"
EXACT_WORK = 300_000_000  # additions: about half a second
NEGLIGIBLE = 1e-40  # binomial terms below this are counted as if each had this much mass
DRAWS = 99_999
DRAWS_MANY = 19_999  # above MANY_DIFFERENCES, to stay within seconds
MANY_DIFFERENCES = 20_000


@dataclass(frozen=True)
class SignFlip:
    """Two-sided p-value and the name of the way it was found."""

    p_value: float
    test: str


def permute_signs(differences: npt.ArrayLike, *, seed: int = 0) -> SignFlip:
    """Two-sided sign-flip test of the sum of `differences`, shape (questions,).

    Whole numbers are enumerated exactly where that is feasible; other values, or too many
    distinct ones, are drawn by Monte Carlo with `seed`, p = (1 + hits) / (1 + draws)
    (Phipson & Smyth 2010, so that p is never 0). The order of the differences does not matter.
    """
    values = np.asarray(differences)
    sizes = np.sort(np.abs(values[values != 0]))
    if sizes.size == 0:
        return SignFlip(1.0, EXACT_TEST)
    if np.issubdtype(sizes.dtype, np.integer):
        sizes = sizes // np.gcd.reduce(sizes)
        total = abs(int(values.sum())) // int(np.gcd.reduce(np.abs(values)))
        if _exact_work(sizes, total) <= EXACT_WORK:
            return SignFlip(_enumerate_flips(sizes, total), EXACT_TEST)
        return _draw_flips(sizes.astype(float), float(total), seed)
    ordered = values[np.argsort(np.abs(values), kind="stable")]
    return _draw_flips(sizes.astype(float), abs(float(ordered.sum())), seed)


def _binomial_window(count: int) -> tuple[int, npt.NDArray[np.float64]]:
    """Start and probabilities of Binomial(count, 1/2), without its negligible ends."""
    if count < 120:
        return 0, np.array([math.comb(count, flipped) * 0.5**count for flipped in range(count + 1)])
    reach = int(7.0 * np.sqrt(count)) + 1  # 14 standard deviations: less than NEGLIGIBLE beyond
    start, stop = max(0, count // 2 - reach), min(count, count // 2 + reach + 1)
    flipped = np.arange(start, stop + 1)
    choices = special.gammaln(count + 1) - special.gammaln(flipped + 1) - special.gammaln(count - flipped + 1)
    return start, np.exp(choices - count * math.log(2))


def _exact_work(sizes: npt.NDArray[np.int64], total: int) -> float:
    unique, counts = np.unique(sizes, return_counts=True)
    reach = np.minimum(counts + 1.0, 14.0 * np.sqrt(counts) + 3.0)
    length = min(float((reach * unique).sum()), (float(sizes.sum()) - total) / 2 + 1)
    return float(reach.sum()) * (length + 2_000)  # 2,000: the price of one loop step


def _enumerate_flips(sizes: npt.NDArray[np.int64], total: int) -> float:
    """P(|sum of signed sizes| >= total), by convolution.

    The flipped part F of the sum is a sum of `size x Binomial(count, 1/2)`; the signed sum is
    sum(sizes) - 2F, so both tails are P(F <= (sum(sizes) - total) / 2), twice.
    """
    if total == 0:
        return 1.0
    limit = (int(sizes.sum()) - total) // 2
    offset, mass, neglected = 0, np.ones(1), 0.0
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        start, weights = _binomial_window(int(count))
        neglected += (int(count) + 1 - weights.size) * NEGLIGIBLE
        offset += start * int(size)
        length = min(mass.size + (weights.size - 1) * int(size), limit - offset + 1)
        if length <= 0:
            return max(neglected, NEGLIGIBLE)
        grown = np.zeros(length)
        for step, weight in enumerate(weights):
            at = step * int(size)
            if at >= length:
                break
            piece = mass[: length - at]
            grown[at : at + piece.size] += weight * piece
        mass = grown
    return min(1.0, 2.0 * float(mass.sum()) + neglected)


def _draw_flips(sizes: npt.NDArray[np.float64], total: float, seed: int) -> SignFlip:
    """Monte Carlo: eight signs at a time, by a table of their 256 signed sums."""
    draws = DRAWS if sizes.size <= MANY_DIFFERENCES else DRAWS_MANY
    generator = np.random.default_rng(seed)
    signs = 2.0 * ((np.arange(256)[:, None] >> np.arange(8)) & 1) - 1.0
    sums = np.zeros(draws)
    for at in range(0, sizes.size, 8):
        block = np.zeros(8)
        block[: sizes[at : at + 8].size] = sizes[at : at + 8]
        sums += (signs @ block)[generator.integers(0, 256, draws, dtype=np.uint8)]
    rounding = 1e-9 * float(sizes.sum())
    hits = int((np.abs(sums) >= total - rounding).sum())
    name = f"Monte-Carlo sign-flip permutation over questions ({draws:,} draws, seed {seed})"
    return SignFlip((1 + hits) / (1 + draws), name)
