"""A damaged file ends its process with one sentence, which the log and ``eisbach status`` show; no trace beside it."""

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from kit import document, make_secrets

from eisbach.bootstrap.cell import OpenCell, open_cell, until_not_ours
from eisbach.bootstrap.serve import together
from eisbach.cell.problems import problem_of
from eisbach.kernel.errors import FileDamaged, Unavailable


async def test_a_cell_ends_when_a_follower_found_its_file_damaged() -> None:
    cell = SimpleNamespace(damage=lambda: "projection.db: the file is damaged", store=None, studio_store=None)

    with pytest.raises(FileDamaged, match="the file is damaged"):
        await until_not_ours(cast("OpenCell", cell))


async def test_a_cell_ends_when_its_store_has_met_a_damage() -> None:
    class Damaged:
        async def not_ours(self) -> str:
            raise FileDamaged("store.db: the file is damaged")

    cell = SimpleNamespace(damage=str, store=Damaged(), studio_store=None)

    async with asyncio.timeout(5):
        with pytest.raises(FileDamaged, match=r"store\.db: the file is damaged"):
            await until_not_ours(cast("OpenCell", cell))


async def test_a_spoke_host_ends_with_the_sentence_of_what_failed_and_not_with_a_group() -> None:
    async def fails(error: Exception) -> None:
        raise error

    with pytest.raises(FileDamaged, match="damaged"):
        await together(fails(Unavailable("away")), fails(FileDamaged("spokes.db is damaged")))
    with pytest.raises(ExceptionGroup):
        await together(fails(ZeroDivisionError("a bug keeps its trace")))


async def test_a_cell_that_cannot_open_its_catalogue_says_so_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What follows the store that is open already (the relay) ended with a trace when that was closed under it."""
    process = document(tmp_path)
    folder = Path(process.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "projection.db").write_bytes(b"a film, perhaps" * 1000)

    with pytest.raises(FileDamaged, match=r"projection\.db: the file is damaged"):
        async with open_cell(process, make_secrets()[process.region]):
            raise AssertionError("it is damaged")

    assert "Traceback" not in "".join(capfd.readouterr())
    assert asyncio.all_tasks() == {asyncio.current_task()}, "every follower has ended"


def test_a_call_that_meets_the_damage_may_go_to_the_other_region_and_is_told_no_path() -> None:
    problem = problem_of(FileDamaged("/var/lib/eisbach/store.db: the file is damaged"), rng=random.Random(1))

    assert (problem.status, problem.code) == (503, "unavailable")
    assert "/var" not in problem.detail
