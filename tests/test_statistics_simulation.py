"""Coverage and false positives at 30 questions and 4 samples; the long run is in docs/statistics.md."""

import subprocess
import sys

import pytest

from raglift.statistics.simulation import (
    build_scenarios,
    build_seed_scenarios,
    measure_coverage,
    measure_share_coverage,
)

REPETITIONS = 500
SCENARIOS = {scenario.name: scenario for scenario in build_scenarios()}
WITH_LIFT = [
    "ceiling",
    "floor",
    "mixed",
    "correlated",
    "few differ",
    "fewer differ",
    "few both ways",
    "rare loss",
]
WITHOUT_LIFT = [name for name in SCENARIOS if name.endswith("no lift")]


@pytest.mark.parametrize("name", WITH_LIFT)
def test_coverage(name):
    found = measure_coverage(SCENARIOS[name], repetitions=REPETITIONS)
    # 93 to 97 %, give or take 2.5 standard errors (2.4 points) of 500 repetitions
    assert 0.906 <= found.covered <= 0.994


@pytest.mark.parametrize("name", WITHOUT_LIFT)
def test_false_positives(name):
    found = measure_coverage(SCENARIOS[name], repetitions=REPETITIONS)
    assert found.rejected <= 0.05
    assert found.covered == pytest.approx(1 - found.rejected)


def test_where_often_nothing_differs_the_interval_is_conservative():
    found = measure_coverage(SCENARIOS["hardly any differ"], repetitions=200)
    assert found.nothing_differs > 0.1 and found.covered >= 0.95


@pytest.mark.parametrize("scenario", build_seed_scenarios(3)[:2], ids=lambda scenario: scenario.name)
def test_false_positives_with_several_seeds(scenario):
    assert measure_coverage(scenario, repetitions=150).rejected <= 0.05 + 0.03


def test_coverage_of_one_arms_accuracy():
    for name in ("ceiling", "mixed", "correlated"):
        assert 0.93 <= measure_share_coverage(SCENARIOS[name], repetitions=1000) <= 0.985


def test_the_same_arguments_give_the_same_figures():
    first, again = (measure_coverage(SCENARIOS["mixed"], repetitions=20, seed=9) for _ in range(2))
    assert first == again


def test_the_documented_command_prints_the_tables():
    command = [sys.executable, "-m", "raglift.statistics.simulation", "--repetitions", "8"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.count("| ceiling") == 3 and "judge harsh on b" in printed and "nan" not in printed
