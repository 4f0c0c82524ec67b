"""One region's studio, hub, spoke host and worker as real processes, on addresses of their own."""

import asyncio
import json
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from eisbach.bootstrap.tools import locate_tools
from eisbach.deploy.laptop.ceremony import ensure_secrets
from eisbach.engines.nats.configuration import nats_configuration
from eisbach.settings import CellProcess, Secrets, Settings, SpokesProcess, WorkerProcess

BIN = Path(sys.executable).parent
STUDIO = "any/all/studio"
SLOTS = 8


class RegionHost:
    def __init__(self, folder: Path, *, host: str = "127.0.23.3") -> None:
        self.folder, self.host, self.region = folder, host, "eu-central"
        self.blobs = folder / "blobs"
        ensure_secrets([(self.region, folder)], operator_token="operator")
        self._token = msgspec.json.decode((folder / "secrets.json").read_bytes(), type=Secrets).service_token
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._write()

    def _write(self) -> None:
        tools = locate_tools(Settings())
        common = {"region": self.region, "host": self.host, "secrets": str(self.folder / "secrets.json")}
        hub, url = f"nats://{self.host}:8222", f"http://{self.host}:8100"
        documents = {
            "cell": CellProcess(
                **common, cell="studio", port=8100, folder=str(self.folder / "studio"), groups={STUDIO: SLOTS},
                slots={STUDIO: list(range(SLOTS))}, preferred={STUDIO: [self.region] * SLOTS}, peers=[], edge=url,
                origin=url, front=url, hub=hub, studio=True, blobs=str(self.blobs),
            ),
            "spokes": SpokesProcess(
                **common, port=8202, folder=str(self.folder / "spokes"), hub=hub, studio=url, peers=[],
                blobs=str(self.blobs),
            ),
            "worker": WorkerProcess(
                **common, name="w1", port=8203, folder=str(self.folder / "worker"), studio=url,
                blobs=str(self.blobs), ffmpeg=str(tools.ffmpeg), ffprobe=str(tools.ffprobe),
                packager=str(tools.packager),
            ),
        }  # fmt: skip
        for kind, document in documents.items():
            (self.folder / f"{kind}.json").write_bytes(msgspec.json.encode(document))
        text = nats_configuration(
            region=self.region, host=self.host, port=8222, monitor_port=8223, store=self.folder / "jetstream"
        )
        (self.folder / "nats.conf").write_text(text)

    async def start(self, kind: str) -> None:
        arguments = (
            [BIN / "nats-server", "-c", self.folder / "nats.conf"]
            if kind == "hub"
            else [BIN / "eisbach", "run", kind, self.folder / f"{kind}.json"]
        )
        with (self.folder / f"{kind}.log").open("ab") as log:
            self._running[kind] = await asyncio.create_subprocess_exec(*arguments, stdout=log, stderr=log)

    def pid(self, kind: str) -> int:
        return self._running[kind].pid

    async def kill(self, kind: str) -> None:
        process = self._running.pop(kind)
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()

    async def ready(self, kind: str, port: int) -> None:
        await self.until(f"{kind} is ready", lambda: self.get("/readyz", port=port, raw=True) is not None)

    async def aclose(self) -> None:
        for kind in list(self._running):
            await self.kill(kind)

    def ask(self, method: str, path: str, body: bytes | None = None, *, port: int = 8100, raw: bool = False) -> Any:
        request = urllib.request.Request(f"http://{self.host}:{port}{path}", data=body, method=method)
        request.add_header("Authorization", f"Bearer {self._token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            content = answer.read()
        return content if raw else json.loads(content)

    def get(self, path: str, *, port: int = 8100, raw: bool = False) -> Any:
        """None when nobody answers, or not well."""
        try:
            return self.ask("GET", path, port=port, raw=raw)
        except OSError:
            return None

    async def until(self, what: str, probe: Callable[[], Any], seconds: float = 90) -> Any:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            found = await asyncio.to_thread(probe)
            if found:
                return found
            assert loop.time() < deadline, f"not within {seconds} s: {what}\n{self.logs()}"
            await asyncio.sleep(0.1)

    def logs(self) -> str:
        return "\n".join(f"--- {p.name}\n{p.read_text()[-2000:]}" for p in sorted(self.folder.glob("*.log")))
