"""How long a cluster takes for a stage's units, with stragglers and dying nodes, against the ideal.

    python scripts/simulate_schedule.py

A simulation of the Ray engine's rule: a free slot takes the next unit; a unit whose node dies is begun again on
another. Printed for docs/scale.md.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

import numpy as np

DETECTION = 30.0  # seconds until a node is known to be dead


@dataclass(frozen=True)
class Cluster:
    """Nodes of equal slots; times in seconds."""

    nodes: int
    slots: int  # of each node
    slow_share: float = 0.0  # of the nodes that are `slowness` times slower
    slowness: float = 3.0
    node_life: float = np.inf  # mean time until a node dies
    repair: float = 1800.0  # until it is back


@dataclass(frozen=True)
class Stage:
    """Independent units of one stage; times in seconds."""

    units: int
    mean: float
    spread: float = 0.3  # standard deviation of a unit's time, as a share of the mean
    checkpoint: float = np.inf  # a unit that is begun again has lost at most this much


@dataclass(frozen=True)
class Outcome:
    """`ideal` is all work spread evenly over all slots (or as many as there are units) at full speed."""

    makespan: float
    ideal: float
    lost_units: int


def simulate(stage: Stage, cluster: Cluster, seed: int) -> Outcome:
    """One run of a stage: list scheduling, deaths at random times of a node, its units begun again elsewhere."""
    random = np.random.default_rng(seed)
    sigma = np.sqrt(np.log1p(stage.spread**2))
    times = stage.mean * random.lognormal(-(sigma**2) / 2, sigma, stage.units)
    ideal = float(times.sum()) / min(cluster.nodes * cluster.slots, stage.units)
    speeds = np.ones(cluster.nodes)
    speeds[random.permutation(cluster.nodes)[: round(cluster.slow_share * cluster.nodes)]] = 1 / cluster.slowness
    deaths = [_Deaths(random, cluster) for _ in range(cluster.nodes)]
    free = [(0.0, node) for node in range(cluster.nodes) for _ in range(cluster.slots)]
    heapq.heapify(free)
    fresh, again = 0, []  # units not begun; (known to be lost, work left) of units to be begun again
    end, lost = 0.0, 0
    while fresh < stage.units or again:
        now, node = heapq.heappop(free)
        start = deaths[node].find_start(now)
        if again and (again[0][0] <= start or fresh == stage.units):
            known, work = heapq.heappop(again)
            start = deaths[node].find_start(max(start, known))
        else:
            work = float(times[fresh])
            fresh += 1
        finish, death = start + work / speeds[node], deaths[node].find_next(start)
        if finish <= death:
            end = max(end, finish)
            heapq.heappush(free, (finish, node))
            continue
        lost += 1
        done = (death - start) * speeds[node]
        kept = 0.0 if np.isinf(stage.checkpoint) else done - done % stage.checkpoint
        heapq.heappush(again, (death + DETECTION, work - kept))
        heapq.heappush(free, (death + cluster.repair, node))
    return Outcome(end, ideal, lost)


class _Deaths:
    """When a node dies, drawn as far as it is asked."""

    def __init__(self, random: np.random.Generator, cluster: Cluster) -> None:
        self.random, self.cluster = random, cluster
        self.times = [self._draw(0.0)]

    def _draw(self, alive_since: float) -> float:
        life = self.cluster.node_life
        return np.inf if np.isinf(life) else alive_since + float(self.random.exponential(life))

    def find_next(self, moment: float) -> float:
        """The first death after a moment."""
        while self.times[-1] <= moment:
            self.times.append(self._draw(self.times[-1] + self.cluster.repair))
        return next(time for time in self.times if time > moment)

    def find_start(self, moment: float) -> float:
        """The moment, or when the node is back if it is dead then."""
        self.find_next(moment)
        dead = [time for time in self.times if time <= moment < time + self.cluster.repair]
        return dead[-1] + self.cluster.repair if dead else moment


def summarize(stage: Stage, cluster: Cluster, runs: int = 20) -> tuple[float, float, float, float]:
    """Over `runs` seeds: hours of the ideal, of the mean makespan and of its 95th percentile, and units lost."""
    found = [simulate(stage, cluster, seed) for seed in range(runs)]
    makespans = [one.makespan for one in found]
    ideal, lost = np.mean([one.ideal for one in found]), np.mean([one.lost_units for one in found])
    return ideal / 3600, np.mean(makespans) / 3600, np.percentile(makespans, 95) / 3600, float(lost)


# A whole run of ml-qa-ko on two cores (docs/performance.md): 3,072 answers in 551 s, 1,200 training rows in 1,018 s.
ANSWERS_A_SECOND = 3072 / 551
SECONDS_A_ROW = 1018 / 1200
BATCH = 32  # questions, the default; four samples of each
# 100,000 questions × 8 arms; a node is one slot.
ANSWERING = Stage(units=8 * 100_000 // BATCH, mean=4 * BATCH / ANSWERS_A_SECOND)
# Two tunings × 5 seeds, 23,000 rows each, a checkpoint a minute.
TRAINING = Stage(units=10, mean=23_000 * SECONDS_A_ROW, spread=0.05, checkpoint=60.0)
CALM = Cluster(nodes=100, slots=1)
FAULTS = {
    "no faults": CALM,
    "5 of 100 nodes 3 times slower": replace(CALM, slow_share=0.05),
    "a node dies after 1,000 h on average": replace(CALM, node_life=3.6e6),
    "a node dies after 100 h on average": replace(CALM, node_life=3.6e5),
    "slow nodes and deaths after 100 h": replace(CALM, slow_share=0.05, node_life=3.6e5),
}


def main() -> None:
    """The tables of docs/scale.md."""
    for name, stage, runs in (("answering", ANSWERING, 5), ("training", TRAINING, 200)):
        print(f"| {name} | ideal h | mean h | 95 % of runs within h | units lost | mean / ideal |")
        print("|---|---|---|---|---|---|")
        for fault, cluster in FAULTS.items():
            ideal, mean, most, lost = summarize(stage, cluster, runs)
            print(f"| {fault} | {ideal:.2f} | {mean:.2f} | {most:.2f} | {lost:.1f} | {mean / ideal:.2f} |")
        print()


if __name__ == "__main__":
    main()
