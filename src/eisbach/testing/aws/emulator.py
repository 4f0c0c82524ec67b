"""Two emulated AWS regions for tests: started, broken, healed, wiped and stopped by pid.

Promises: everything listens on 127.0.0.1; replication of global tables lags as it does on AWS; every region's endpoint
can be cut, hung, slowed, throttled or made to fail by itself. What an emulator cannot show is in
docs/engines.md. Needs ``make .venv-aws`` once (PyPI only). Credentials are words that mean nothing.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from eisbach.kernel.errors import Invalid, Unavailable

__all__ = ["CREDENTIALS", "ENVIRONMENT", "REGIONS", "AwsEmulator", "emulator_python", "free_ports"]

REGIONS: Final = ("eu-central-1", "eu-west-1")
"""The names AWS has for our regions eu-central and eu-west."""
CREDENTIALS: Final = {"aws_access_key_id": "000000000001", "aws_secret_access_key": "emulated"}
"""For a client's constructor; the first is the account's number."""
ENVIRONMENT: Final = {
    "AWS_ACCESS_KEY_ID": "000000000001", "AWS_SECRET_ACCESS_KEY": "emulated", "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip
"""The same for a process."""
_PORTS: Final = range(20_000, 32_000)
_START_S: Final = 30.0
_STOP_S: Final = 5.0


def emulator_python() -> Path:
    """The interpreter of the emulator's own environment: ``EISBACH_AWS_VENV``, else ``.venv-aws`` beside ours.

    Raises:
        Unavailable: it was never made.
    """
    folder = Path(os.environ.get("EISBACH_AWS_VENV") or Path(sys.prefix).parent / ".venv-aws")
    python = folder / "bin" / "python"
    if not python.exists():
        raise Unavailable(f"no emulator of AWS at {folder}; run: make .venv-aws")
    return python


class AwsEmulator:
    """One process; blocking calls, so that it serves tests with and without a loop."""

    def __init__(self, folder: Path, *, regions: tuple[str, ...] = REGIONS) -> None:
        """``folder``: for its output and temporary files."""
        self._folder, self.regions = folder, regions
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: dict[str, int] = {}

    @property
    def pid(self) -> int:
        """Of the emulator's process."""
        return self._running.pid

    def start(self) -> "AwsEmulator":
        """Start it and wait until every region answers.

        Raises:
            Unavailable: it ended or did not answer within 30 s; the message has its last words.
        """
        self._ports = dict(zip(("ministack", "control", *self.regions), free_ports(2 + len(self.regions)), strict=True))
        doors = {region: self._ports[region] for region in self.regions}
        wanted = {"port": self._ports["ministack"], "control": self._ports["control"], "doors": doors}
        environment = {
            "PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(Path(__file__).parents[3]), "LOG_LEVEL": "ERROR",
            "TMPDIR": str(self._folder), "HOME": str(self._folder), **ENVIRONMENT,
        }  # fmt: skip
        with (self._folder / "emulator.log").open("ab") as output:
            self._process = subprocess.Popen(
                [emulator_python(), "-m", "eisbach.testing.aws.inside", json.dumps(wanted)],
                stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment, start_new_session=True,
            )  # fmt: skip
        self._wait_until_ready()
        return self

    def endpoint(self, region: str) -> str:
        """What to give a client as ``endpoint_url``; the client must sign for the same region."""
        return f"http://127.0.0.1:{self._ports[region]}"

    def fault(
        self, region: str, mode: str, *, service: str = "", operation: str = "", count: int = -1, seconds: float = 0.0
    ) -> None:
        """Break one region's endpoint; faults add up until ``heal``. Modes and fields: ``faults.Fault``."""
        if mode not in ("cut", "hang", "error", "throttle", "slow", "mute"):
            raise Invalid(f"fault {mode!r} is not one of cut, hang, error, throttle, slow, mute")
        fault = {"mode": mode, "service": service, "operation": operation, "count": count, "seconds": seconds}
        self._control("fault", region=region, **fault)

    def heal(self, region: str = "") -> None:
        """End the faults of one region's endpoint, or of all."""
        self._control("heal", region=region)

    def lag(self, seconds: float, *, spread: float = 0.0, seed: int = 0) -> None:
        """Of replication: each item is under way for ``seconds`` and up to ``spread`` more, so items overtake."""
        self._control("lag", seconds=seconds, spread=spread, seed=seed)

    def cut_link(self, one: str, other: str) -> None:
        """Stop replication between two regions; both go on alone."""
        self._control("link", one=one, other=other, up=False)

    def heal_link(self, one: str, other: str) -> None:
        """What was written meanwhile is replicated now, last writer winning per key."""
        self._control("link", one=one, other=other, up=True)

    def statistics(self) -> dict[str, Any]:
        """``replication``: sent, applied, dropped, queued. ``doors``: by region, calls and broken ones."""
        return self._control("statistics")

    def wipe(self) -> None:
        """Delete everything in all regions, and end all faults."""
        self._control("forget")
        url = f"http://127.0.0.1:{self._ports['ministack']}/_ministack/reset"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=30) as answer:
            answer.read()

    def stop(self) -> None:
        """End the process, and what it started (Lambda functions), by process group."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_STOP_S)
        if process.stdin is not None:
            process.stdin.close()

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise Unavailable("the emulator is not running; call start")
        return self._process

    def _control(self, do: str, **what: Any) -> dict[str, Any]:
        body = json.dumps({"do": do, **what}).encode()
        url = f"http://127.0.0.1:{self._ports['control']}/"
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=10) as answer:
            said: dict[str, Any] = json.load(answer)
            return said

    def _wait_until_ready(self) -> None:
        late = time.monotonic() + _START_S
        for region in self.regions:
            while True:
                try:
                    with urllib.request.urlopen(f"{self.endpoint(region)}/_ministack/health", timeout=5) as answer:  # noqa: S310
                        answer.read()
                    break
                except OSError:
                    if self._running.poll() is not None or time.monotonic() > late:
                        words = (self._folder / "emulator.log").read_text(errors="replace")[-2000:]
                        self.stop()
                        raise Unavailable(f"the emulator of AWS does not answer; it said: {words}") from None
                    time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports below the ephemeral range, so that no client's own port is among them."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise Unavailable(f"no {count} free ports between {_PORTS.start} and {_PORTS.stop} on 127.0.0.1")
