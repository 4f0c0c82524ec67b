"""A disk of some megabytes for tests, which is full for real (ENOSPC): a tmpfs in a mount namespace of its own.

Needs no root where the kernel lets users make namespaces. What is started ``inside`` sees it at ``folder``; everybody
else sees an empty folder there. It lives until the end of the block, whatever is started anew meanwhile.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final, Self

__all__ = ["SmallDisk"]

_BALLAST: Final = "ballast"
_READY: Final = b"ready\n"


class SmallDisk:
    """Use as an async context manager."""

    def __init__(self, folder: Path, *, megabytes: int) -> None:
        self._folder, self._megabytes = folder, megabytes
        self._keeper: asyncio.subprocess.Process | None = None
        self._user = os.geteuid() != 0
        """Whether a user namespace is needed."""

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        words = ["unshare", *(["--user", "--map-root-user"] if self._user else []), "--mount", "sh", "-c"]
        script = f'mount -t tmpfs -o mode=700,size={self._megabytes}m none "$1" && echo ready && exec sleep infinity'
        self._keeper = await asyncio.create_subprocess_exec(
            *words, script, "sh", str(self._folder), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert self._keeper.stdout is not None
        if await self._keeper.stdout.readline() != _READY:
            _, said = await self._keeper.communicate()
            raise OSError(f"no namespace with a small disk could be made here: {said.decode(errors='replace').strip()}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeper is not None:
            with contextlib.suppress(ProcessLookupError):
                self._keeper.kill()
            await self._keeper.communicate()

    @property
    def inside(self) -> tuple[str, ...]:
        """Put before a command, whose process it becomes."""
        assert self._keeper is not None, "use as an async context manager"
        user = ("--user", "--preserve-credentials") if self._user else ()
        return ("nsenter", "--target", str(self._keeper.pid), *user, "--mount", "--wdns=/")

    async def fill(self) -> None:
        """Until not a byte is left; what was written stays."""
        await self._run("dd", "if=/dev/zero", f"of={self._folder / _BALLAST}", "bs=4k", "oflag=append", "conv=notrunc")

    async def make_room(self) -> None:
        """Take away what ``fill`` brought."""
        await self._run("rm", "-f", str(self._folder / _BALLAST))

    async def _run(self, *words: str) -> None:
        done = await asyncio.create_subprocess_exec(
            *self.inside, *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, said = await done.communicate()
        if done.returncode and b"No space left" not in said:
            raise OSError(f"{words[0]}: {said.decode(errors='replace').strip()}")
