"""A viewer in headless Chromium, and what its page knows of its own playback."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from .viewer import Viewer

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--autoplay-policy=no-user-gesture-required", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
    "--disable-background-timer-throttling", "--mute-audio",
]  # fmt: skip


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def device_at_home_in(region: str, edge: str, name: str) -> str:
    """A device id whose slot prefers ``region``: half of all do, so that a few tries are enough."""
    for number in range(64):
        viewer = Viewer(edge, f"{name}-{number:04d}").sign_in()
        if viewer.endpoints[0]["region"] == region:
            return viewer.device
    raise AssertionError(f"none of 64 devices prefers {region}")


@dataclass
class Watching:
    """A page that plays."""

    page: Page
    name: str
    front: str
    query: str

    def stats(self) -> dict[str, Any]:
        return self.page.evaluate("JSON.parse(JSON.stringify(window.eisbach || {}))")

    def go(self, address: str) -> None:
        self.page.goto(f"{self.front}/?{self.query}#/{address}")

    def until(self, what: str, probe: Callable[[dict[str, Any]], Any], seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            stats = self.stats()
            if stats and probe(stats):
                return stats
            if time.monotonic() > deadline:
                shown = {k: v for k, v in stats.items() if k not in ("fragments", "failures", "sdk")}
                raise AssertionError(
                    f"{self.name}: not within {seconds} s: {what}\n{json.dumps(shown, indent=1)[:3000]}\n"
                    f"last failures {json.dumps(stats.get('failures', [])[-5:])}"
                )
            self.page.wait_for_timeout(100)

    def playing(self, seconds: float = 30) -> dict[str, Any]:
        """Until the picture moves."""
        seen = [
            self.until("playing", lambda s: s["state"] == "playing" and s["currentTime"] > 0, seconds)["currentTime"]
        ]

        def moved(stats: dict[str, Any]) -> bool:
            # A new address may show the picture before it for a moment, somewhere else in its own time.
            seen.append(stats["currentTime"])
            return stats["currentTime"] > min(seen) + 0.5 and stats["currentTime"] >= seen[-2]

        return self.until("the picture moves", moved, 10)


@contextmanager
def watching(browser: Browser, *, name: str, front: str, query: str, device: str) -> Iterator[Watching]:
    context = browser.new_context(viewport={"width": 640, "height": 400})
    context.add_init_script(f"localStorage.setItem('eisbach.device', {json.dumps(device)})")
    try:
        yield Watching(context.new_page(), name, front, query)
    finally:
        context.close()
