"""From a cold clone to a moving picture and the red button: ``git clone``, ``make up``, the demo page, as someone new does.

Every download cache is empty (uv's, pip's, npm's), so the network of the machine is in the figure. Chromium and this
bench's own environment are there already; they are not Eisbach's to bring. Baseline: the same clone's second start,
everything installed. Limit: none known; the goals are issue 2's.
Not among the benchmarks of a plain ``make bench``: it needs the package registries. ``make bench ARGS=cold``.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from bench.figures import Row
from playwright.sync_api import Page
from tests.e2e.browser import chromium

ROOT = Path(__file__).parents[1]
NETWORK = "127.0.56"
WITHIN_S, BEYOND_S = 600, 30
PLAYS = "[...document.querySelectorAll('.verdict')].filter(v => v.innerText === 'playing').length >= 2"


class Clone:
    """A clone with nothing installed, and how long each thing took since the first command."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "up.log"
        caches = {name: str(folder / "cache" / name) for name in ("UV_CACHE_DIR", "PIP_CACHE_DIR", "npm_config_cache")}
        away = str(ROOT / ".uv/bin") + os.pathsep
        path = os.environ["PATH"].replace(away, "").replace(str(ROOT / ".venv/bin") + os.pathsep, "")
        self.environment = {**os.environ, **caches, "PATH": path, "EISBACH_NETWORK": NETWORK}
        for unwanted in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "MAKEFLAGS", "MAKELEVEL"):
            self.environment.pop(unwanted, None)
        self.began = time.monotonic()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "clone")], check=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def up(self) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as out:
            return subprocess.Popen(
                ["make", "up", "ARGS="], cwd=self.folder / "clone", env=self.environment,
                stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def link(self, process: subprocess.Popen[bytes]) -> str:
        """The demo link, once the platform says ready."""
        while True:
            said = self.log.read_text(errors="replace")
            found = re.search(r"http://\S+/demo/\?token=\S+", said)
            if found and "ready after" in said:
                return found[0]
            if process.poll() is not None or self.seconds > WITHIN_S:
                raise RuntimeError(f"make up: code {process.poll()} after {self.seconds:.0f} s\n{said[-3000:]}")
            time.sleep(0.1)


def pressed(page: Page) -> float:
    """Press the red button; the longest gap of the right side in ms, until half a minute after."""
    page.locator(".red-button").click()
    page.wait_for_timeout(BEYOND_S * 1000)
    print(f"  red button pressed; {page.locator('.verdict').all_inner_texts()}", flush=True)
    right = page.query_selector_all("iframe")[1].content_frame()
    stats = right.evaluate("JSON.parse(JSON.stringify(window.eisbach))") if right else {"state": "gone"}
    if stats["state"] != "playing":
        raise RuntimeError(f"the right side is {stats['state']} {BEYOND_S} s after the red button")
    return float(max((s["ms"] for s in stats["stalls"]), default=0.0))


def run() -> list[Row]:
    busy = os.getloadavg()[0]
    with chromium() as browser, tempfile.TemporaryDirectory(prefix="eisbach-bench-cold-") as name:
        clone = Clone(Path(name))
        at: dict[str, float] = {}
        process = clone.up()
        try:
            link = clone.link(process)
            at["ready"] = clone.seconds
            page = browser.new_page(locale="en-GB")
            page.goto(link)
            page.wait_for_function(PLAYS, timeout=WITHIN_S * 1000)
            at["picture"] = clone.seconds
            print(f"  ready {at['ready']:.1f} s, picture {at['picture']:.1f} s", flush=True)
            gap_ms = pressed(page)
            at["pressed"] = clone.seconds - BEYOND_S
            page.close()
        finally:
            stopped(process)
        shutil.rmtree(clone.folder / "cache")
        clone.began, process = time.monotonic(), clone.up()
        try:
            clone.link(process)
            again_s = clone.seconds
        finally:
            stopped(process)
    baseline = f"{again_s:.1f} s: ready when started again, all installed"
    return [
        Row(figure="cold clone, caches empty: pages answer", measured=at["ready"], unit="s", baseline=baseline, note=f"load {busy:.1f}"),
        Row(figure="cold clone, caches empty: picture on both sides", measured=at["picture"], unit="s", goal="<= 90 s",
            met=at["picture"] <= 90, baseline=baseline),
        Row(figure="cold clone, caches empty: red button pressed", measured=at["pressed"], unit="s", goal="<= 180 s",
            met=at["pressed"] <= 180, note=f"right side plays on {BEYOND_S} s later, longest gap {gap_ms:.0f} ms"),
    ]  # fmt: skip


def stopped(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C to the whole session, as a terminal does."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
