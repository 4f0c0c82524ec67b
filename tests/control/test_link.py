"""A link between regions: carries bytes, and can be cut, refused and slowed."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from eisbach.bootstrap.link import Link

pytestmark = pytest.mark.processes  # real sockets
HOST, TARGET, LISTEN = "127.0.24.3", 8120, 8121


@dataclass
class Rig:
    link: Link
    echoed: list[bytes]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(HOST, LISTEN)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    echoed: list[bytes] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(1 << 16):
                echoed.append(chunk)
                writer.write(chunk)
                await writer.drain()
        writer.close()

    link = Link("eu-central", "eu-west", host=HOST, port=TARGET)
    target = await asyncio.start_server(echo, HOST, TARGET)
    listening = await asyncio.start_server(link.accept, HOST, LISTEN)
    try:
        yield Rig(link, echoed)
    finally:
        link.set("refuse", 0)
        await asyncio.sleep(0)
        listening.close()
        target.close()
        await asyncio.sleep(0.05)


async def said(reader: asyncio.StreamReader, size: int, seconds: float = 2.0) -> bytes | None:
    try:
        return await asyncio.wait_for(reader.readexactly(size), seconds)
    except TimeoutError:
        return None


async def test_it_carries_bytes_both_ways_and_counts_them(rig: Rig) -> None:
    reader, writer = await rig.connect()
    data = bytes(range(256)) * 4096
    writer.write(data)

    back = await said(reader, len(data), 10)
    writer.close()

    assert back == data
    assert rig.link.bytes == 2 * len(data)


async def test_a_cut_stops_the_bytes_and_keeps_the_sockets_and_up_lets_them_flow_on(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(b"one")
    first = await said(reader, 3)
    rig.link.set("cut", 0)
    writer.write(b"two")

    silence = await said(reader, 3, 0.3)
    before = list(rig.echoed)
    fresh, fresh_writer = await rig.connect()
    fresh_writer.write(b"new")
    unanswered = await said(fresh, 3, 0.2)
    rig.link.set("up", 0)

    assert (first, silence, unanswered, before) == (b"one", None, None, [b"one"])
    assert (await said(reader, 3), await said(fresh, 3)) == (b"two", b"new")
    writer.close()
    fresh_writer.close()


@pytest.mark.parametrize("before", ["up", "cut"])
async def test_a_refusal_resets_what_is_open_and_what_comes(rig: Rig, before: str) -> None:
    reader, writer = await rig.connect()
    writer.write(b"one")
    await said(reader, 3)
    rig.link.set(before, 0)
    rig.link.set("refuse", 0)

    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 2) == b""
    fresh, fresh_writer = await rig.connect()
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(fresh.read(), 2) == b""

    assert rig.link.row()["connections"] == 0
    writer.close()
    fresh_writer.close()


async def test_a_delay_is_added_each_way_once_and_does_not_narrow_the_link(rig: Rig) -> None:
    rig.link.set("up", 100)
    reader, writer = await rig.connect()
    started = time.monotonic()
    writer.write(b"x" * 1_000_000)

    back = await said(reader, 1_000_000, 10)
    took = time.monotonic() - started
    writer.close()

    assert back is not None
    # One way at a time would be 16 chunks of 100 ms each way.
    assert 0.2 <= took < 1.5


async def test_a_close_at_one_end_closes_the_other_after_the_last_byte(rig: Rig) -> None:
    reader, writer = await rig.connect()
    writer.write(b"last")
    assert await said(reader, 4) == b"last"
    writer.close()

    async def none_left() -> None:
        while rig.link.row()["connections"]:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(none_left(), 2)


async def test_a_narrow_link_carries_so_many_bytes_a_second_for_all_and_never_falls_silent(rig: Rig) -> None:
    rig.link.set("up", 0, 200_000)
    ends = [await rig.connect() for _ in range(2)]
    started, last, longest = time.monotonic(), time.monotonic(), 0.0
    for _, writer in ends:
        writer.write(b"x" * 100_000)

    async def read(reader: asyncio.StreamReader) -> int:
        nonlocal last, longest
        found = 0
        while found < 100_000:
            found += len(await asyncio.wait_for(reader.read(1 << 16), 5))
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        return found

    found = await asyncio.gather(*(read(reader) for reader, _ in ends))
    took = time.monotonic() - started
    for _, writer in ends:
        writer.close()

    assert found == [100_000, 100_000]
    assert 0.95 <= took < 3, "half a second each"
    assert longest < 0.5
