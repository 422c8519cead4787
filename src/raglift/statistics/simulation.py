"""Simulated experiments with a known truth: does the interval cover, does the test hold its level?

`python -m raglift.statistics.simulation` prints the tables of docs/statistics.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raglift.statistics.comparison import Comparison, compare_paired
from raglift.statistics.proportions import estimate_clustered_share
from raglift.statistics.simulated_review import build_reviews, format_reviews, measure_review

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Chances:
    """Each question's chance of a correct answer in either arm, shape (seeds, questions)."""

    a: Floats
    b: Floats


@dataclass(frozen=True)
class Scenario:
    """A population of questions; `lift` is its true mean difference, on the 0-to-1 scale."""

    name: str
    lift: float
    draw: Callable[[np.random.Generator, int], Chances]
    note: str = ""


@dataclass(frozen=True)
class Coverage:
    """Shares over the repetitions, 0 to 1; `width` is the interval's mean width in points.

    `rejected` is the rate of false positives where the truth is 0, else the power.
    """

    scenario: Scenario
    covered: float
    covered_where_differing: float
    below: float
    above: float
    rejected: float
    nothing_differs: float
    width: float


def _betas(a: tuple[float, float], b: tuple[float, float]) -> Callable[[np.random.Generator, int], Chances]:
    return lambda generator, size: Chances(generator.beta(*a, (1, size)), generator.beta(*b, (1, size)))


def _kinds(*kinds: tuple[float, float, float]) -> Scenario:
    """Questions of a few kinds: (share, chance in a, chance in b)."""
    shares = np.array([kind[0] for kind in kinds])

    def draw(generator: np.random.Generator, size: int) -> Chances:
        chosen = generator.choice(len(kinds), size=(1, size), p=shares)
        table = np.array(kinds)
        return Chances(table[chosen, 1], table[chosen, 2])

    return Scenario("", float(sum(share * (b - a) for share, a, b in kinds)), draw)


def _logit_shift(shift: float) -> Scenario:
    """Equally hard in both arms, but for a shift of the log odds (hard questions stay hard)."""

    def chance(ability: Floats) -> Floats:
        return np.asarray(1 / (1 + np.exp(-ability)))

    grid = np.linspace(-20, 20, 40_001)
    weight = np.exp(-(grid**2) / 8)
    lift = float((weight * (chance(grid + shift) - chance(grid))).sum() / weight.sum())

    def draw(generator: np.random.Generator, size: int) -> Chances:
        ability = generator.normal(0, 2, (1, size))
        return Chances(chance(ability), chance(ability + shift))

    return Scenario("", lift, draw)


def _name(scenario: Scenario, name: str, note: str) -> Scenario:
    return Scenario(name, scenario.lift, scenario.draw, note)


def build_scenarios() -> list[Scenario]:
    """The populations that the interval was chosen and is tested on."""
    return [
        Scenario("ceiling", 30 / 31 - 0.9, _betas((9, 1), (30, 1)), "90 % against 97 %"),
        Scenario("floor", 0.1 - 1 / 31, _betas((1, 30), (1, 9)), "3 % against 10 %"),
        Scenario("mixed", 1.2 / 1.8 - 0.5, _betas((0.7, 0.7), (1.2, 0.6)), "50 % against 67 %, unrelated"),
        _name(_logit_shift(0.8), "correlated", "hard questions are hard in both arms"),
        _name(_kinds((0.77, 1, 1), (0.23, 0.1, 1)), "few differ", "23 % of questions gain, the rest do not"),
        _name(_kinds((0.85, 1, 1), (0.15, 0.1, 1)), "fewer differ", "15 % of questions gain"),
        _name(_kinds((0.85, 1, 1), (0.1, 0.1, 1), (0.05, 1, 0.2)), "few both ways", "10 % gain, 5 % lose"),
        _name(_kinds((0.77, 1, 1), (0.2, 0.75, 1), (0.03, 1, 0)), "rare loss", "many small gains, 3 % lose all"),
        _name(_kinds((0.95, 1, 1), (0.05, 0.1, 1)), "hardly any differ", "5 % gain: often no question differs"),
        Scenario("ceiling, no lift", 0.0, _betas((30, 1.5), (30, 1.5)), "95 % in both arms"),
        Scenario("mixed, no lift", 0.0, _betas((0.7, 0.7), (0.7, 0.7)), "50 % in both, unrelated"),
        _name(_logit_shift(0.0), "correlated, no lift", "the same chances in both arms"),
        _name(
            _kinds((0.8, 1, 1), (0.1, 0.1, 1), (0.1, 1, 0.1)),
            "few both ways, no lift",
            "10 % gain, 10 % lose",
        ),
    ]


def build_seed_scenarios(seeds: int) -> list[Scenario]:
    """As `mixed`, with a lift that also varies over training seeds (standard deviation 0 and 5 points)."""

    def vary(deviation: float, lift: float) -> Callable[[np.random.Generator, int], Chances]:
        def draw(generator: np.random.Generator, size: int) -> Chances:
            base = generator.uniform(0.2, 0.6, (1, size)) + np.zeros((seeds, 1))
            own = lift + generator.uniform(-0.1, 0.1, (1, size))
            shift = np.clip(generator.normal(0, deviation, (seeds, 1)), -0.1, 0.1) if deviation else 0.0
            return Chances(base, base + own + shift)

        return draw

    return [
        Scenario(f"{seeds} seeds, no lift, seeds alike", 0.0, vary(0.0, 0.0)),
        Scenario(f"{seeds} seeds, no lift, seeds differ", 0.0, vary(0.05, 0.0)),
        Scenario(f"{seeds} seeds, 10 points, seeds differ", 0.1, vary(0.05, 0.1)),
    ]


def simulate_comparison(
    scenario: Scenario, generator: np.random.Generator, *, questions: int = 30, samples: int = 4
) -> Comparison:
    """Draw one experiment from the scenario and compare its arms."""
    chances = scenario.draw(generator, questions)
    total = np.full(chances.a.shape, samples)
    return compare_paired(generator.binomial(samples, chances.a), total, generator.binomial(samples, chances.b), total)


def measure_coverage(
    scenario: Scenario, *, repetitions: int, questions: int = 30, samples: int = 4, seed: int = 1
) -> Coverage:
    """Repeat the experiment; the same arguments give the same figures."""
    generator = np.random.default_rng(seed)
    truth = 100.0 * scenario.lift
    rows = []
    for _ in range(repetitions):
        found = simulate_comparison(scenario, generator, questions=questions, samples=samples)
        low, high = found.ci95 or (-100.0, 100.0)
        rows.append(
            (
                truth < low - 1e-9,
                truth > high + 1e-9,
                (found.p_value or 0.0) < 0.05,
                found.differing == 0,
                high - low,
            )
        )
    below, above, rejected, nothing, width = np.array(rows, dtype=float).T
    covered = 1 - below - above
    differing = nothing == 0
    return Coverage(
        scenario=scenario,
        covered=float(covered.mean()),
        covered_where_differing=float(covered[differing].mean()) if differing.any() else 1.0,
        below=float(below.mean()),
        above=float(above.mean()),
        rejected=float(rejected.mean()),
        nothing_differs=float(nothing.mean()),
        width=float(width.mean()),
    )


def format_coverage(rows: Sequence[Coverage]) -> str:
    """A Markdown table."""
    lines = [
        "| scenario | truth | covered | covered, some differ | truth below / above | p < 0.05 | none differs | width |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row.scenario.name}{': ' + row.scenario.note if row.scenario.note else ''} "
            f"| {100 * row.scenario.lift:+.1f} | {100 * row.covered:.1f} % "
            f"| {100 * row.covered_where_differing:.1f} % | {100 * row.below:.1f} / {100 * row.above:.1f} % "
            f"| {100 * row.rejected:.1f} % | {100 * row.nothing_differs:.1f} % | {row.width:.1f} |"
        )
    return "\n".join(lines)


def measure_share_coverage(
    scenario: Scenario, *, repetitions: int, questions: int = 30, samples: int = 4, seed: int = 1
) -> float:
    """How often the clustered interval for arm a's accuracy covers its true mean, 0 to 1."""
    generator = np.random.default_rng(seed)
    truth = 100.0 * float(scenario.draw(generator, 400_000).a.mean())
    covered = 0
    for _ in range(repetitions):
        correct = generator.binomial(samples, scenario.draw(generator, questions).a[0])
        low, high = estimate_clustered_share(correct, np.full(questions, samples)).ci95 or (0.0, 100.0)
        covered += low <= truth <= high
    return covered / repetitions


def main() -> None:
    """Print how often the intervals cover: `python -m raglift.statistics.simulation`."""
    parser = argparse.ArgumentParser(
        prog="python -m raglift.statistics.simulation", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--questions", type=int, default=30)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    size = {"questions": chosen.questions, "samples": chosen.samples, "seed": chosen.seed}
    often, seldom = chosen.repetitions, max(1, chosen.repetitions // 4)
    print(f"{chosen.questions} questions, {chosen.samples} samples, {often} repetitions\n")
    print(format_coverage([measure_coverage(one, repetitions=often, **size) for one in build_scenarios()]))
    print(f"\nSeveral training seeds, {seldom} repetitions\n")
    several = [one for seeds in (2, 3, 5) for one in build_seed_scenarios(seeds)]
    print(format_coverage([measure_coverage(one, repetitions=seldom, **size) for one in several]))
    print(f"\nAccuracy of one arm, {often} repetitions\n\n| arm a of | covered |\n|---|---:|")
    for one in build_scenarios()[:5]:
        print(f"| {one.name} | {100 * measure_share_coverage(one, repetitions=often, **size):.1f} % |")
    print(f"\nLift corrected by two reviewers' labels, {seldom} repetitions\n")
    print(format_reviews([measure_review(one, repetitions=seldom, seed=chosen.seed) for one in build_reviews()]))


if __name__ == "__main__":
    main()
