"""Many runs on all cores: seeds in, a summary out; failing seeds are shrunk to the faults that matter.

Promises: a seed's verdict does not depend on which process ran it; one in a hundred is run twice and must give the same
trace. May not know: how results are shown.
"""

import logging
import os
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from typing import Any, Final

import structlog

from eisbach.testing.world.aimed import SUITE
from eisbach.testing.world.disks import Volumes
from eisbach.testing.world.faults import draw
from eisbach.testing.world.mutants import MUTANTS, planted
from eisbach.testing.world.pairs import PAIRS
from eisbach.testing.world.run import Result, simulate
from eisbach.testing.world.strikes import Pair

__all__ = ["Found", "Summary", "close_volumes", "command", "hunt", "run_many", "shrunk", "volumes"]

TWICE_EVERY: Final = 100
_volumes: list[tuple[Volumes, Any]] = []
"""The disks of this process, and what its logs went through before them."""


@dataclass(slots=True, kw_only=True)
class Summary:
    """Of many seeds."""

    seeds: int = 0
    failed: list[Result] = field(default_factory=list)
    covered: set[Pair] = field(default_factory=set)
    strikes: int = 0
    acknowledged: int = 0
    conflicts: int = 0
    virtual_s: float = 0.0
    longest_convergence_s: float = 0.0
    cpu_s: float = 0.0
    repeated: int = 0
    of_suite: int = 0

    def add(self, result: Result, cpu_s: float) -> None:
        """Count one more."""
        self.seeds += 1
        self.covered |= result.covered
        self.strikes += result.strikes
        self.acknowledged += result.acknowledged
        self.conflicts += result.conflicts
        self.virtual_s += result.seconds
        self.longest_convergence_s = max(self.longest_convergence_s, result.converged_s)
        self.cpu_s += cpu_s
        self.repeated += result.seed % TWICE_EVERY == 0
        self.of_suite += result.seed < SUITE
        if result.breaches:
            self.failed.append(result)

    @property
    def missing(self) -> list[str]:
        """Pairs that can occur and were not hit."""
        return sorted(" x ".join(pair) for pair in PAIRS - self.covered)

    @property
    def missed(self) -> list[str]:
        """Of those, what should have been: all of the suite was played."""
        return self.missing if self.of_suite >= SUITE else []

    @property
    def well(self) -> bool:
        """Nothing failed, and nothing was missed."""
        return not self.failed and not self.missed

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "seeds": self.seeds,
            "failed": [{"seed": r.seed, "breaches": r.breaches[:5], "repeat": command(r.seed)} for r in self.failed],
            "coverage": {
                "pairs": len(PAIRS),
                "hit": len(self.covered & PAIRS),
                "missing": self.missing,
            },
            "strikes": self.strikes,
            "acknowledged_writes": self.acknowledged,
            "conflicts": self.conflicts,
            "virtual_seconds": round(self.virtual_s),
            "longest_convergence_s": round(self.longest_convergence_s, 2),
            "seeds_per_cpu_second": round(self.seeds / self.cpu_s, 2) if self.cpu_s else None,
            "run_twice": self.repeated,
        }


def command(seed: int, *, mutant: str = "", without: Collection[str] = ()) -> str:
    """The one command that repeats a run."""
    parts = ["eisbach simulate --seed", str(seed)]
    if mutant:
        parts += ["--mutant", mutant]
    if without:
        parts += ["--without", ",".join(sorted(without))]
    return " ".join(parts)


def volumes() -> Volumes:
    """The disks of this process; made once, and logs are silenced: a run is full of expected trouble."""
    if not _volumes:
        _volumes.append((Volumes(), structlog.get_config()["wrapper_class"]))
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return _volumes[0][0]


def close_volumes() -> None:
    """Take this process's disks away; its logs are heard again."""
    while _volumes:
        disks, heard_by = _volumes.pop()
        structlog.configure(wrapper_class=heard_by)
        disks.close()


def one(seed: int, mutant: str = "") -> tuple[Result, float]:
    """Run a seed, one in a hundred twice; the result and the CPU seconds of one run."""
    begun = time.process_time()
    with planted(mutant):
        result = simulate(seed, volumes())
        cpu_s = time.process_time() - begun
        if seed % TWICE_EVERY == 0 and not result.breaches:
            again = simulate(seed, volumes())
            if again.trace != result.trace:
                result.breaches.append(f"DETERMINISM two runs of seed {seed} differ: {result.trace} {again.trace}")
    return result, cpu_s


def _chunk(seeds: Sequence[int], mutant: str) -> list[tuple[Result, float]]:
    try:
        return [one(seed, mutant) for seed in seeds]
    finally:
        close_volumes()


def run_many(seeds: Iterator[int], *, mutant: str = "", workers: int | None = None) -> Iterator[tuple[Result, float]]:
    """Results in the order of ``seeds``; lazily, so that a caller may stop at the first failure or go on for ever."""
    workers = workers or os.cpu_count() or 1
    chunks = iter(lambda: list(islice(seeds, 10)), [])
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_chunk, chunk, mutant) for chunk in islice(chunks, 2 * workers)]
        while waiting:
            results = waiting.pop(0).result()
            if (chunk := next(chunks, None)) is not None:
                waiting.append(pool.submit(_chunk, chunk, mutant))
            yield from results


def shrunk(seed: int, *, mutant: str = "") -> tuple[Result, set[str]]:
    """Leave out every fault that the failure does not need, one after another; the smaller run and what is left out."""
    without: set[str] = set()
    with planted(mutant):
        smallest = simulate(seed, volumes(), keep=True)
        for part in draw(seed).parts():
            tried = simulate(seed, volumes(), without=without | {part}, keep=True)
            if tried.breaches:
                smallest = tried
                without.add(part)
    return smallest, without


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How soon a mutant was found."""

    name: str
    seed: int | None
    """The first seed that found it; None: not found."""
    tried: int
    """Seeds up to and with that one."""
    breach: str

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"name": self.name, "seed": self.seed, "tried": self.tried, "breach": self.breach}


def hunt(seeds: int, *, names: Sequence[str] = (), workers: int | None = None) -> Iterator[Found]:
    """Plant each mutant in turn and play seeds from 0 until one finds it."""
    workers = workers or os.cpu_count() or 1
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_hunt, names or sorted(MUTANTS), [seeds] * (len(names) or len(MUTANTS)))


def _hunt(name: str, seeds: int) -> Found:
    try:
        with planted(name):
            for seed in range(seeds):
                result = simulate(seed, volumes())
                if result.breaches:
                    return Found(name=name, seed=seed, tried=seed + 1, breach=result.breaches[0])
        return Found(name=name, seed=None, tried=seeds, breach="")
    finally:
        close_volumes()
