"""At most so many at once, in order, and no turn is lost to a cancellation."""

import asyncio
import random

import pytest

from eisbach.hub.turns import Turns


async def test_at_most_so_many_have_a_turn_and_whoever_waits_longest_is_next() -> None:
    turns, inside, order, most = Turns(3), 0, list[int](), 0

    async def one(number: int) -> None:
        nonlocal inside, most
        async with turns:
            order.append(number)
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*[one(number) for number in range(50)])

    assert (most, order) == (3, list(range(50)))


async def test_a_turn_that_was_given_to_one_who_is_cancelled_before_it_runs_goes_to_the_next() -> None:
    turns, got = Turns(1), list[str]()

    async def one(name: str) -> None:
        async with turns:
            got.append(name)

    await turns.__aenter__()
    cancelled, following = asyncio.create_task(one("cancelled")), asyncio.create_task(one("following"))
    await asyncio.sleep(0)
    await turns.__aexit__()
    cancelled.cancel()
    await asyncio.gather(cancelled, following, return_exceptions=True)

    assert got == ["following"]


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_is_cancelled_whenever_all_turns_are_there_at_the_end(seed: int) -> None:
    chance, turns = random.Random(seed), Turns(4)

    async def one() -> None:
        async with turns:
            for _ in range(chance.randint(0, 3)):
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(one()) for _ in range(60)]
    while not all(task.done() for task in tasks):
        chance.choice(tasks).cancel()
        await asyncio.sleep(0)

    async with asyncio.timeout(1):
        for _ in range(4):
            await turns.__aenter__()
