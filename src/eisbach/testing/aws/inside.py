"""The emulator's process: ministack, lagged replication, a door a region, and a control address.

Run by ``emulator.AwsEmulator`` in the environment of ``requirements.txt``; ends when its standard input is closed, so
it never outlives who started it. Control is plain HTTP on 127.0.0.1, one JSON object in and out.
"""

import http.server
import json
import os
import sys
import threading
from typing import Any

from eisbach.testing.aws.faults import Door, Fault, serve_in_background, statistics
from eisbach.testing.aws.replication import Replication

__all__ = ["main"]


class Control:
    """What a test may do to the two regions."""

    def __init__(self, replication: Replication, doors: dict[str, Door]) -> None:
        self._replication, self._doors = replication, doors

    def call(self, *, do: str, **what: Any) -> dict[str, Any]:
        """``lag``, ``link``, ``fault``, ``heal``, ``forget`` or ``statistics``; always answers the statistics."""
        if do == "lag":
            self._replication.set_lag(what["seconds"], spread=what["spread"], seed=what["seed"])
        elif do == "link":
            self._replication.set_link(what["one"], what["other"], up=what["up"])
        elif do == "fault":
            self._doors[what.pop("region")].faults.append(Fault(**what))
        elif do in ("heal", "forget"):
            for region in [what["region"]] if what.get("region") else list(self._doors):
                self._doors[region].faults.clear()
                if do == "forget":
                    self._doors[region].calls.clear()
                    self._doors[region].broken.clear()
            if do == "forget":
                self._replication.forget()
        return {"replication": self._replication.statistics(), "doors": statistics(self._doors)}


def main() -> None:
    """Read what to be from the first argument (JSON) and be it."""
    wanted = json.loads(sys.argv[1])
    os.environ.update(BIND_HOST="127.0.0.1", GATEWAY_PORT=str(wanted["port"]))
    sys.argv = sys.argv[:1]  # ministack parses them too
    threading.Thread(target=_end_with_starter, daemon=True).start()

    replication = Replication()
    replication.install()
    doors = {region: Door(("127.0.0.1", wanted["port"])) for region in wanted["doors"]}
    places = {("127.0.0.1", port): doors[region] for region, port in wanted["doors"].items()}
    threading.Thread(target=serve_in_background, args=(places,), daemon=True, name="doors").start()
    _serve_control(wanted["control"], Control(replication, doors))

    from ministack.app import main as ministack

    ministack()


def _serve_control(port: int, control: Control) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(control.call(**asked)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True, name="control").start()


def _end_with_starter() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
