"""What a handler asked for, written down while it runs; nothing happens before it returns."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from eisbach.kernel.errors import Invalid
from eisbach.kernel.events import Event
from eisbach.kernel.ids import derived_id
from eisbach.ports.spoke_store import NewCommand, SpokeStore

__all__ = ["COMMANDS_MAX", "COMMAND_BYTES_MAX", "OWN_PREFIX", "RecordedEffects"]

COMMANDS_MAX: Final = 64
"""Of one event."""
COMMAND_BYTES_MAX: Final = 4 * 1024 * 1024
"""A film of twelve hours has thousands of chunks, each a job."""
_STATE_BYTES_MAX: Final = 64 * 1024
OWN_PREFIX: Final = "eisbach:"
"""Keys of a spoke's state that are the host's."""


class RecordedEffects:
    """``ports.spoke.Effects`` of one attempt at one event."""

    def __init__(self, event: Event, *, spoke: str, store: SpokeStore) -> None:
        self._event, self._spoke, self._store = event, spoke, store
        self.commands: list[NewCommand] = []
        self.state: dict[str, bytes | None] = {}
        """None: deleted."""

    def command(self, path: str, body: Mapping[str, Any]) -> None:
        """See ``Effects``.

        Raises:
            Invalid: over 64 commands, over 4 MiB, or not JSON.
        """
        if len(self.commands) >= COMMANDS_MAX:
            raise Invalid(f"event {self._event.id} asks for over {COMMANDS_MAX} commands; send fewer, larger ones")
        try:
            raw = msgspec.json.encode(body)
        except (TypeError, ValueError) as error:
            raise Invalid(f"command {path} is not JSON: {error}") from error
        if len(raw) > COMMAND_BYTES_MAX:
            raise Invalid(f"command {path} has {len(raw)} bytes; send at most {COMMAND_BYTES_MAX}")
        # The spoke is part of the key: two spokes may answer one event with the same path.
        key = derived_id("cmd", self._event.id, self._spoke, str(len(self.commands)))
        self.commands.append(NewCommand(path, raw, key))

    def put(self, key: str, value: bytes) -> None:
        """See ``Effects``.

        Raises:
            Invalid: over 64 KiB, or a key that is the host's.
        """
        _check(key)
        if len(value) > _STATE_BYTES_MAX:
            raise Invalid(f"state {key!r} has {len(value)} bytes; keep at most {_STATE_BYTES_MAX}")
        self.state[key] = value

    def delete(self, key: str) -> None:
        """See ``Effects``.

        Raises:
            Invalid: a key that is the host's.
        """
        _check(key)
        self.state[key] = None

    async def get(self, key: str) -> bytes | None:
        """See ``Effects``; sees what this handler has put."""
        return self.state[key] if key in self.state else await self._store.get(self._spoke, key)


def _check(key: str) -> None:
    if key.startswith(OWN_PREFIX):
        raise Invalid(f"state {key!r}: keys that start with {OWN_PREFIX!r} are the host's; choose another")
