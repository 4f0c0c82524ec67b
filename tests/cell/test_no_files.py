"""A cell that may open nothing more says so as overload, and serves again once there are descriptors.

That its loop rests meanwhile: ``test_entrance.py``.
"""

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from test_process import prepared, sign_in, started

from eisbach.bootstrap.entrance import FILES_KEPT, REFUSED_AT_ONCE

pytestmark = pytest.mark.processes


@contextlib.asynccontextmanager
async def files(pid: int, most: int) -> AsyncIterator[None]:
    """It may have so many, as long as this lasts."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def first_free(pid: int) -> int:
    opened = {int(fd.name) for fd in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in range(len(opened) + 1) if number not in opened)


async def written(session: aiohttp.ClientSession, base: str, headers: dict[str, str]) -> int:
    body = {"pos_s": 1, "dur_s": 9}
    async with session.put(f"{base}/v1/me/progress/tears", json=body, headers=headers) as answer:
        return answer.status


@pytest.mark.timeout(90)
async def test_a_cell_without_descriptors_refuses_as_overloaded_and_serves_again(tmp_path: Path) -> None:
    process, path = await prepared(tmp_path, port=8118)
    at = (process.host, process.port)
    base = f"http://{process.host}:{process.port}"
    rails = f"{base}/v1/me/rails"
    async with started(path, process) as child, aiohttp.ClientSession() as known:
        headers = await sign_in(known, base, 0)
        async with files(child.pid, first_free(child.pid)):
            told = []
            for _ in range(3):  # each on a connection of its own
                async with aiohttp.ClientSession() as session:
                    async with session.get(rails, headers=headers) as got:
                        said = await got.json()
                        told.append((got.status, got.headers.get("Eisbach-Code"), said["code"]))
                        waits = got.headers.get("Retry-After")
                    body = {"pos_s": 1, "dur_s": 9}
                    async with session.put(f"{base}/v1/me/progress/tears", json=body, headers=headers) as got:
                        told.append((got.status, got.headers.get("Eisbach-Code"), (await got.json())["code"]))
            async with known.get(rails, headers=headers) as got:  # on one from before
                before = got.status
            # Who says nothing has the last descriptor; the others wait.
            silent = [socket.create_connection(at) for _ in range(3)]
        async with aiohttp.ClientSession() as session, session.get(rails, headers=headers) as got:
            after = got.status
        for one in silent:
            one.close()

    assert told == [(503, "overloaded", "overloaded")] * 6
    assert "in all (ulimit -n)" in said["detail"], "what why shows of its readiness"
    assert waits is not None
    assert (before, after) == (200, 200)


@pytest.mark.timeout(90)
async def test_connections_leave_a_cell_the_files_of_its_store_and_one_that_ends_makes_room(tmp_path: Path) -> None:
    process, path = await prepared(tmp_path, port=8119)
    at, base = (process.host, process.port), f"http://{process.host}:{process.port}"
    async with started(path, process) as child, aiohttp.ClientSession() as first:
        headers = await sign_in(first, base, 0)
        async with files(child.pid, FILES_KEPT + 2), aiohttp.ClientSession() as second:
            two = [await written(first, base, headers), await written(second, base, headers)]
            async with aiohttp.ClientSession() as third:
                over = await written(third, base, headers)
                async with third.get(f"{base}/readyz") as got:
                    said = (await got.json())["detail"]
            silent = [socket.create_connection(at) for _ in range(FILES_KEPT)]
            beside = await written(first, base, headers)
            # Those that were accepted have answered, or hold what is for refusals.
            opened = len(list(Path(f"/proc/{child.pid}/fd").iterdir()))
            for one in silent:
                one.close()
            await second.close()
            again = 503
            async with asyncio.timeout(20), aiohttp.ClientSession() as third:
                while again == 503:
                    again = await written(third, base, headers)

    assert two == [204, 204]
    assert over == 503
    assert f"{FILES_KEPT} files are kept for its own, and it may open {FILES_KEPT + 2} in all (ulimit -n)" in said
    assert beside == 204
    assert opened <= FILES_KEPT + 2 - REFUSED_AT_ONCE, "enough is left for what the store opens for a while"
    assert again == 204
