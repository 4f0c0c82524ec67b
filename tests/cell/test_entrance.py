"""The entrance in this process: descriptors and time are the test's, sockets and the loop are real."""

import asyncio
import errno
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from eisbach.bootstrap import entrance as module
from eisbach.bootstrap.entrance import FILES_KEPT, PAUSE_S, REFUSED_AT_ONCE, Entrance


class Descriptors:
    """So many are free; whoever wants one and gets none is told EMFILE, as the kernel does."""

    def __init__(self) -> None:
        self.free, self.asked = 1_000, 0

    def take(self) -> None:
        if self.free == 0:
            raise OSError(errno.EMFILE, "Too many open files")
        self.free -= 1

    def dup(self, number: int) -> int:
        self.take()
        return os.dup(number)

    def close(self, number: int) -> None:
        os.close(number)
        self.free += 1


class Listener(socket.socket):
    descriptors: Descriptors

    def accept(self) -> tuple[socket.socket, Any]:
        self.descriptors.asked += 1
        self.descriptors.take()
        try:
            return super().accept()
        except BlockingIOError:
            self.descriptors.free += 1
            raise


class Timers:
    """The loop, but that time passes when the test says so."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], None]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio.get_running_loop(), name)

    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        timer = (seconds, call)
        self.later.append(timer)
        return SimpleNamespace(cancel=lambda: self.later.remove(timer))

    def passes(self) -> None:
        """The pauses that are under way end."""
        due, self.later = self.later, []
        for _, call in due:
            call()


class Connection(asyncio.Protocol):
    """Stands until it is let go."""

    def __init__(self, door: "Door", *, refuse: str) -> None:
        self.door, self.refuse = door, refuse

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.door.inside.append(self)

    def leave(self) -> None:
        self.door.inside.remove(self)
        self.door.descriptors.free += 1
        self.transport.abort()


class Door:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.descriptors, self.timers = Descriptors(), Timers()
        self.most = resource.RLIM_INFINITY
        self.inside: list[Connection] = []
        self.callers: list[socket.socket] = []
        monkeypatch.setattr(module, "os", SimpleNamespace(dup=self.descriptors.dup, close=self.descriptors.close))
        limits = SimpleNamespace(
            getrlimit=lambda _: (self.most, self.most),
            RLIMIT_NOFILE=resource.RLIMIT_NOFILE,
            RLIM_INFINITY=resource.RLIM_INFINITY,
        )
        monkeypatch.setattr(module, "resource", limits)
        self.listener = Listener(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.descriptors = self.descriptors
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(256)
        self.address = self.listener.getsockname()
        self.entrance = Entrance(
            self.listener,
            lambda refuse: Connection(self, refuse=refuse),
            open_now=lambda: len(self.inside),
        )
        self.entrance._loop = self.timers  # type: ignore[assignment]

    async def come(self, count: int) -> None:
        """So many callers connect, who say nothing, and the loop turns."""
        self.callers += [socket.create_connection(self.address) for _ in range(count)]
        await self.turns()

    async def turns(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    def refused(self) -> list[bool]:
        return [bool(one.refuse) for one in self.inside]

    def close(self) -> None:
        for one in list(self.inside):
            one.leave()
        for caller in self.callers:
            caller.close()


@pytest.fixture
async def door(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Door]:
    found = Door(monkeypatch)
    yield found
    found.close()
    if found.listener.fileno() >= 0:
        found.entrance.close()
    await found.turns()


async def test_who_comes_while_there_is_room_is_served(door: Door) -> None:
    await door.come(3)

    assert door.refused() == [False] * 3
    assert door.timers.later == []


async def test_without_a_descriptor_one_caller_at_a_time_gets_the_spare_one_and_hears_the_refusal(door: Door) -> None:
    await door.come(1)
    door.descriptors.free = 0

    await door.come(3)
    first = door.refused()
    door.inside[1].leave()
    door.timers.passes()
    await door.turns()

    assert first == [False, True]
    assert door.refused() == [False, True]
    assert len(door.timers.later) == 1, "two are left in the backlog, and then one"


async def test_while_nothing_can_be_accepted_the_loop_turns_for_nothing_but_its_pauses(door: Door) -> None:
    """The listening socket stays readable: a loop that looks at it takes what it gets of a core."""
    await door.come(1)
    door.descriptors.free = 0
    await door.come(3)
    before = door.descriptors.asked

    await door.turns()
    asleep = door.descriptors.asked - before
    pauses = [seconds for seconds, _ in door.timers.later]
    for _ in range(5):
        door.timers.passes()
        await door.turns()

    assert (asleep, pauses) == (0, [PAUSE_S])
    assert door.descriptors.asked - before == 5, "one look a pause"


async def test_who_waited_is_served_once_there_are_descriptors_again(door: Door) -> None:
    await door.come(1)
    door.descriptors.free = 0
    await door.come(3)

    door.descriptors.free = 10
    door.timers.passes()
    await door.turns()

    assert door.refused() == [False, True, False, False]
    assert door.timers.later == []


async def test_over_the_bound_callers_hear_the_refusal_and_over_those_they_wait(door: Door) -> None:
    """The bound is the limit as it is now."""
    await door.come(2)
    door.most = FILES_KEPT + 3

    await door.come(REFUSED_AT_ONCE + 5)
    over = door.refused()
    door.most = FILES_KEPT + 100
    door.timers.passes()
    await door.turns()

    assert over == [False] * 3 + [True] * REFUSED_AT_ONCE
    assert door.refused() == over + [False] * 4


@pytest.mark.parametrize("resting", [False, True])
async def test_a_closed_entrance_accepts_no_more_and_gives_everything_back(door: Door, resting: bool) -> None:
    await door.come(2)
    if resting:
        door.descriptors.free = 0
        await door.come(2)
    before = door.descriptors.asked

    door.entrance.close()
    await door.entrance.wait_closed()
    door.timers.passes()
    await door.turns()

    assert door.listener.fileno() == -1
    assert (door.timers.later, door.descriptors.asked) == ([], before)
    assert door.descriptors.free == (0 if resting else 998), "the spare one is free again, or somebody's"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(door.address)


async def test_who_was_accepted_when_the_entrance_closes_is_somebodys_before_it_is_closed(door: Door) -> None:
    door.callers.append(socket.create_connection(door.address))
    door.entrance._accept()
    door.entrance.close()
    assert door.inside == []

    await door.entrance.wait_closed()

    assert door.refused() == [False]
