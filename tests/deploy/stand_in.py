"""A small process for the supervisor's tests: serves HTTP and does what it is told. Run as a script."""

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/exit":
            os._exit(3)
        if self.path == "/close":
            self.server.socket.close()
        body = b"x" * 100_000 if self.path == "/large" else b"fine"
        if self.path == "/readyz" and "--stuck" in sys.argv and Path("stuck").exists():
            body = b"disk full: write error"
        self.send_response(200 if body[:4] != b"disk" else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    if "--crash" in sys.argv:
        sys.exit("this one always crashes")
    if "--child" in sys.argv:  # what nginx and ffmpeg do: a child that does not die with its parent
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print("child", child.pid, flush=True)
    ThreadingHTTPServer.allow_reuse_address = True
    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
