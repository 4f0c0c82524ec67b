"""A whole cell on an emulated region in trouble: what viewers are told, what is kept, and how often AWS is called.

Calls are counted at the region's door: each is on the bill, whether AWS answers or not.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from kit import device_of, opened, signed_in
from test_cell_aws import on_aws

from eisbach.testing.aws.emulator import AwsEmulator

__all__ = ["on_aws"]  # a fixture
pytestmark = pytest.mark.aws
WRITERS, SECONDS = 8, 10.0
A_COMMIT = 9
"""Attempts at most: three each for what the work needs, the commit, and the look at what became of it."""
IDLE_A_SECOND = 8.0
"""Of relay, readers and timers of a cell with nobody to serve, all retries of the SDK included."""


def arrived(aws: AwsEmulator) -> int:
    return sum(aws.statistics()["doors"][aws.regions[0]]["calls"].values())


@pytest.mark.parametrize("mode", ["throttle", "error", "hang", "cut"])
async def test_a_cell_rides_a_region_in_trouble_out_and_its_calls_are_no_storm(
    tmp_path: Path, aws: AwsEmulator, on_aws: dict[str, Any], mode: str
) -> None:
    device = device_of([0, 1, 2, 3])
    async with opened(tmp_path, **on_aws) as cell:
        viewer = await signed_in(cell, device)

        async def write(position: int) -> tuple[int, float]:
            began = time.monotonic()
            answer = await viewer.send("PUT", "/v1/me/progress/tears", {"pos_s": position, "dur_s": 1000})
            return answer.status, time.monotonic() - began

        assert (await write(1))[0] == 204
        await asyncio.sleep(1)
        aws.fault(aws.regions[0], mode)
        before, began, answers = arrived(aws), time.monotonic(), list[tuple[int, float]]()
        while time.monotonic() - began < SECONDS:
            answers += await asyncio.gather(*(write(100 + number) for number in range(WRITERS)))
            await asyncio.sleep(1)
        lasted, called = time.monotonic() - began, arrived(aws) - before
        aws.heal()

        assert {status for status, _ in answers} <= {503, 429}, "none was acknowledged"
        assert max(seconds for _, seconds in answers) < 30, "none waits for ever"
        rounds = len(answers) / WRITERS  # writes that come together share a commit, and its retries
        assert called <= A_COMMIT * rounds + IDLE_A_SECOND * lasted, f"a storm: {called} in {lasted:.0f} s"
        async with asyncio.timeout(20):
            while (await write(500))[0] != 204:
                await asyncio.sleep(0.5)
        rails = (await viewer.send("GET", "/v1/me/rails")).json()
        assert [r["pos_s"] for r in rails["resume"]] == [500]
        longest = max(seconds for _, seconds in answers)
        print(f"{mode}: {len(answers)} writes, {called} calls in {lasted:.1f} s; longest {longest:.1f} s")


@pytest.mark.parametrize("mode", ["throttle", "error", "hang", "cut"])
async def test_a_cell_that_serves_nobody_calls_a_region_in_trouble_seldom(
    tmp_path: Path, aws: AwsEmulator, on_aws: dict[str, Any], mode: str
) -> None:
    async with opened(tmp_path, **on_aws) as cell:
        await signed_in(cell)
        await asyncio.sleep(1)
        aws.fault(aws.regions[0], mode)
        await asyncio.sleep(2)  # what was under way
        before, began = arrived(aws), time.monotonic()
        await asyncio.sleep(SECONDS)
        called, lasted = arrived(aws) - before, time.monotonic() - began
        aws.heal()

        print(f"{mode}: {called} calls in {lasted:.1f} s")
        assert called <= IDLE_A_SECOND * lasted, f"a storm: {called} in {lasted:.0f} s"
