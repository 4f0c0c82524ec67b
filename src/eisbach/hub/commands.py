"""Sending the commands that spokes asked for: at least once, each under its own idempotency key.

Order per (spoke, subject); at most eight at once, so that a lane that waits does not hold up the others. A retryable
answer is tried again for ever with growing delay; a refusal is set aside as a dead letter with its reason.
May not know: HTTP, the studio.
"""

import asyncio
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

import msgspec
import structlog

from eisbach.hub.delays import delay_after
from eisbach.hub.nudge import Nudge
from eisbach.kernel.errors import Rejected, Retryable
from eisbach.ports.clock import Clock
from eisbach.ports.spoke_store import Command, DeadLetter, SpokeStore

__all__ = ["CommandSender", "CommandStatistics", "CommandTransport"]

_AT_ONCE: Final = 8
_FIRST_DELAY: Final = timedelta(milliseconds=200)
_LONGEST_DELAY: Final = timedelta(seconds=10)
_LOOK_AGAIN_S: Final = 5.0

_logger = structlog.get_logger(__name__)


class CommandTransport(Protocol):
    """How a command reaches the studio."""

    async def post(self, path: str, body: bytes, *, key: str) -> None:
        """Return when it had its one effect.

        Raises:
            Retryable: send it again, under the same key.
            Rejected: it will never be accepted.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStatistics:
    """Since start."""

    sent: int
    postponed: int
    refused: int


class CommandSender:
    """One a spoke host."""

    def __init__(
        self, store: SpokeStore, transport: CommandTransport, *, clock: Clock, rng: random.Random, nudge: Nudge
    ) -> None:
        """``nudge``: wakes the sender when commands were written."""
        self._store, self._transport = store, transport
        self._clock, self._rng, self._nudge = clock, rng, nudge
        self._in_flight: dict[int, asyncio.Task[None]] = {}
        self._sent = self._postponed = self._refused = 0

    async def run(self) -> None:
        """Send for ever.

        Raises:
            Retryable: the spoke store cannot be used; run again later.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._turn(tasks)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group
        finally:
            self._in_flight.clear()

    def statistics(self) -> CommandStatistics:
        """What happened since start."""
        return CommandStatistics(sent=self._sent, postponed=self._postponed, refused=self._refused)

    async def _turn(self, tasks: asyncio.TaskGroup) -> None:
        now, wait = self._clock.wall_ms(), _LOOK_AGAIN_S
        for command in await self._store.commands(limit=4 * _AT_ONCE):
            if command.number in self._in_flight:
                continue
            if command.due_ms > now:
                wait = min(wait, (command.due_ms - now) / 1000)
            elif len(self._in_flight) < _AT_ONCE:
                self._in_flight[command.number] = tasks.create_task(self._send(command))
        await self._nudge.wait(self._clock, wait)

    async def _send(self, command: Command) -> None:
        try:
            await self._transport.post(command.path, command.body, key=command.key)
        except Retryable as error:
            self._postponed += 1
            attempt = command.attempt + 1
            delay = delay_after(attempt, first=_FIRST_DELAY, longest=_LONGEST_DELAY, rng=self._rng)
            delay = max(delay, min(error.retry_after, _LONGEST_DELAY) if attempt > 3 else delay)
            due = self._clock.wall_ms() + int(delay.total_seconds() * 1000)
            if attempt in (1, 10, 100):
                _logger.warning("command_waits", path=command.path, attempt=attempt, error=str(error))
            await self._store.command_postponed(command.number, attempt=attempt, due_ms=due)
        except Rejected as error:
            self._refused += 1
            reason = f"{type(error).__name__}: {error}"[:2000]
            _logger.warning("command_refused", spoke=command.spoke, path=command.path, reason=reason)
            await self._store.command_answered(command.number, dead=_dead(command, reason, self._clock.wall_ms()))
        else:
            self._sent += 1
            await self._store.command_answered(command.number)
        finally:
            self._in_flight.pop(command.number, None)
            self._nudge.nudge()


def _dead(command: Command, reason: str, at_ms: int) -> DeadLetter:
    body = msgspec.json.encode({"path": command.path, "body": msgspec.Raw(command.body), "key": command.key})
    return DeadLetter(
        spoke=command.spoke, event_id=command.event_id, kind="command", subject=command.subject, reason=reason,
        at_ms=at_ms, body=body,
    )  # fmt: skip
