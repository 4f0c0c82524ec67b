"""What runs beside a cell's requests ends when it is told to, whatever fails in that moment."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from eisbach.bootstrap.followers import Followers
from eisbach.kernel.errors import Unavailable
from eisbach.testing.manual_clock import ManualClock, settle


async def hides_it() -> None:
    """As a task group does of which a task fails in the moment in which it is cancelled."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise Unavailable("the disk refused") from None


async def overlooks_it() -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return


@pytest.mark.parametrize("begin", [Followers.start, Followers.once])
@pytest.mark.parametrize("follow", [hides_it, overlooks_it])
async def test_a_follower_that_hides_its_cancellation_ends_all_the_same(
    begin: Callable[..., None], follow: Callable[[], Awaitable[None]]
) -> None:
    followers = Followers(ManualClock())
    begin(followers, "one", follow)
    await settle()

    closing = asyncio.create_task(followers.aclose())
    await settle(50)

    assert closing.done()
