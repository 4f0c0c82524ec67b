"""The built pages over the development backend (web/dev), in headless Chromium: no platform needed."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
DEV = ROOT / "web/dev"
NETWORK = "127.0.26"
BASE = f"http://{NETWORK}.1:8000"
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--mute-audio", "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not (DEV / ".media/ready").exists():
        subprocess.run([sys.executable, DEV / "make_media.py"], check=True, timeout=280)
    log = tmp_path_factory.mktemp("web") / "backend.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, DEV / "dev_platform.py", "--network", NETWORK], stdout=out, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 20
        while not _listens():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield BASE
    finally:
        process.kill()
        process.wait(10)


def _listens() -> bool:
    try:
        socket.create_connection((f"{NETWORK}.1", 8000), 0.5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(backend: str, browser: Browser) -> Iterator[Page]:
    request = urllib.request.Request(
        f"{backend}/ops/heal", data=b"{}", headers={"Content-Type": "application/json"}, method="POST"
    )
    urllib.request.urlopen(request, timeout=5).close()
    context = browser.new_context(
        base_url=backend, viewport={"width": 1280, "height": 800}, locale="en-GB", color_scheme="dark"
    )
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    context.close()
    assert problems == [], "a page raised"
