"""A local Lambda runtime API: the real ``awslambdaric`` client in a real process asks it for calls and answers them.

As AWS does: one call at a time; a call that takes too long ends the process, and the next one starts anew (cold).
Source of the protocol: AWS Lambda developer guide, "Using the Lambda runtime API" (2018-06-01).
"""

import http.server
import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

SRC = Path(__file__).parents[3] / "src"


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A process that was ended in the middle of a call closes its connection: that is the point of some tests."""


class LambdaRuntime:
    """One function."""

    def __init__(
        self, handler: str, environment: dict[str, str], *, timeout_s: float = 20.0, path: str = str(SRC)
    ) -> None:
        self.handler, self.timeout_s, self.output = handler, timeout_s, list[str]()
        self.cold_starts = 0
        self._calls: queue.Queue[tuple[str, bytes, int]] = queue.Queue()
        self._answers: dict[str, queue.Queue[tuple[str, Any]]] = {}
        self._process: subprocess.Popen[str] | None = None
        self._server: _Server | None = None
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
            "AWS_LAMBDA_FUNCTION_NAME": "function",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_REGION": "eu-central-1",
            "PYTHONPATH": path,
            **environment,
        }

    def call(self, event: dict[str, Any]) -> Any:
        """What the handler answered.

        Raises:
            RuntimeError: it raised, could not be imported, or took too long; with what it said.
        """
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._start()
        id_ = str(uuid.uuid4())
        answers = self._answers[id_] = queue.Queue()
        self._calls.put((id_, json.dumps(event).encode(), int((time.time() + self.timeout_s) * 1000)))
        try:
            kind, body = self._answer(answers)
        except queue.Empty:
            self._end()
            raise RuntimeError(f"timed out after {self.timeout_s} s: {''.join(self.output)[-2000:]}") from None
        if kind != "response":
            raise RuntimeError(f"{kind}: {body} {''.join(self.output)[-1500:]}")
        return body

    def _answer(self, answers: "queue.Queue[tuple[str, Any]]") -> tuple[str, Any]:
        late = time.monotonic() + self.timeout_s
        while True:
            try:
                return answers.get(timeout=0.2)
            except queue.Empty:
                if time.monotonic() > late:
                    raise
                if self._process is not None and (code := self._process.poll()) is not None:
                    return f"ended with {code}", None

    @property
    def pid(self) -> int:
        """Of the process that took the last call."""
        assert self._process is not None
        return self._process.pid

    def end(self) -> None:
        """The next call starts cold."""
        self._end()

    def close(self) -> None:
        self._end()

    def _start(self) -> None:
        self.cold_starts += 1
        # A door of its own for each process: the last word of one that was ended would take the next one's call.
        self._server = _Server(("127.0.0.1", 0), self._requests(self.cold_starts))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        environment = {**self._environment, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}"}
        command = [sys.executable, "-m", "awslambdaric", self.handler]
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self.output.extend(process.stdout)
        process.stdout.close()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _requests(self, start: int) -> type[http.server.BaseHTTPRequestHandler]:
        runtime = self

        class Requests(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: else Nagle waits 40 ms for the acknowledgement
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None: ...

            def do_GET(self) -> None:
                if (call := self._next()) is None:
                    self.close_connection = True
                    return
                id_, body, deadline_ms = call
                told = {
                    "Content-Type": "application/json",
                    "Lambda-Runtime-Aws-Request-Id": id_,
                    "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:function",
                    # Without type and trace the client's C part (4.2.2) ends by a segmentation fault; AWS sends both.
                    "Lambda-Runtime-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0",
                }
                self._say(200, body, told)

            def _next(self) -> tuple[str, bytes, int] | None:
                """A call; none for a process that has ended, whose connection would swallow it."""
                while True:
                    try:
                        call = runtime._calls.get(timeout=0.1)
                    except queue.Empty:
                        if runtime.cold_starts == start:
                            continue
                        return None
                    if runtime.cold_starts == start:
                        return call
                    runtime._calls.put(call)
                    return None

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
                *_, id_, kind = self.path.split("/")
                self._say(202, b"", {})
                if id_ == "init":
                    for answers in list(runtime._answers.values()):
                        answers.put(("init error", body))
                elif id_ in runtime._answers:
                    runtime._answers.pop(id_).put((kind, body))

            def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        return Requests
