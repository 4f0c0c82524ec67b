"""Eleven rounds with real processes, one of them a cell that is stopped for 90 s while another takes its store over."""

from pathlib import Path

import pytest

from e2e.platform import running

from .faults import HUBS_IN_TURN, KINDS, plan
from .play import command, game, play, prepare

SEEDS = [HUBS_IN_TURN, *range(7, 16)]
NETWORK = "127.0.60"


def test_the_rounds_of_every_run_meet_every_kind_of_fault() -> None:
    assert {fault.kind for seed in SEEDS for fault in plan(seed)} == set(KINDS)
    assert plan(3) == plan(3) != plan(4)


@pytest.mark.processes
@pytest.mark.timeout(320)
async def test_whatever_breaks_every_acknowledged_write_is_in_both_regions_and_has_one_effect(tmp_path: Path) -> None:
    data = tmp_path / "data"
    prepare(data)
    with running(data, stage="regions", network=NETWORK, arguments=("--no-demo",)):
        async with game(data, NETWORK) as played:
            rounds = await play(played, SEEDS, long_stop=True)
            acknowledged = len(played.book.acks)

    broken = [f"seed {one.seed}: {one.breaches}; again: {command(one.seed)}" for one in rounds if one.breaches]
    assert broken == []
    assert acknowledged > 500
