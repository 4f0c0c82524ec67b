"""Take the pictures in docs/images anew: viewer, demo and console; phone and desktop; light and dark.

    .venv/bin/python docs/screenshots.py                                  starts a platform of its own and stops it
    .venv/bin/python docs/screenshots.py http://localhost:8000 FOLDER --link 'http://localhost:8000/demo/?token=...'

The link is the one that `eisbach status` prints; without it the red button stays grey and the broken state is left out.
"""

import argparse
import io
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

ROOT = Path(__file__).parents[1]
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
NETWORK = "127.0.26"
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--mute-audio", "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip


@contextmanager
def platform() -> Iterator[tuple[str, str]]:
    """(front, demo link) of a platform that lives as long as the block; its demo content is ready."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "up.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [ROOT / ".venv/bin/eisbach", "up", "--data", f"{folder}/data"],
                env={**os.environ, "EISBACH_NETWORK": NETWORK}, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            wait_for(lambda: "demo content ready" in log.read_text(), 300, lambda: log.read_text()[-2000:], process)
            link = re.search(r"http://\S+/demo/\?token=\S+", log.read_text())
            assert link, log.read_text()
            yield link[0].split("/demo/")[0], link[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def wait_for(probe, seconds: float, said, process=None) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert process is None or process.poll() is None, said()
        assert time.monotonic() < deadline, said()
        time.sleep(0.5)


def take(page: Page, path: Path) -> None:
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    # 256 colours: a third of the bytes, and nobody sees the difference on a page.
    picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(path)


def playing(page: Page) -> None:
    page.wait_for_function("window.eisbach && window.eisbach.state === 'playing' && window.eisbach.currentTime > 2", timeout=60_000)


def still_pages(context: BrowserContext, base: str, out: Path, name: str) -> None:
    """What is the same at any time: the viewer and the console."""
    page = context.new_page()
    page.goto(f"{base}/")
    page.wait_for_selector(".hero h1", timeout=30_000)
    page.wait_for_timeout(1500)
    take(page, out / f"viewer-home-{name}.png")
    title = page.locator(".hero a.button:not(.primary)").get_attribute("href") or ""
    page.goto(f"{base}/{title}")
    page.wait_for_selector(".title-page h1")
    page.wait_for_timeout(1000)
    take(page, out / f"viewer-title-{name}.png")
    page.goto(f"{base}/{title.replace('title', 'watch')}")
    playing(page)
    page.mouse.move(300, 300)
    page.keyboard.press("i")
    page.wait_for_timeout(700)
    take(page, out / f"viewer-player-{name}.png")
    page.goto(f"{base}/#/live")
    page.wait_for_selector(".channel-line")
    page.wait_for_timeout(1000)
    take(page, out / f"viewer-live-{name}.png")
    for what, path, ready in (("console", "/console/", "table"), ("faults", "/console/#/faults", ".kinds")):
        page.goto("about:blank")
        page.goto(base + path)
        page.wait_for_selector(ready)
        page.wait_for_timeout(6000 if what == "console" else 800)
        take(page, out / f"{what}-{name}.png")
    page.close()


def demo_pages(browser: Browser, base: str, out: Path, link: str) -> None:
    """One run through the demo; the same page is photographed in every size and scheme."""
    page = browser.new_page()
    page.goto(link or f"{base}/demo/")

    def photograph(what: str) -> None:
        for size, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.wait_for_timeout(700)
                take(page, out / f"demo-{what}-{size}-{scheme}.png")

    page.wait_for_function("[...document.querySelectorAll('.verdict')].every(v => v.innerText === 'playing')", timeout=90_000)
    photograph("ready")
    if not link:
        return
    page.locator(".red-button").click()
    page.wait_for_timeout(60_000)
    photograph("broken")
    page.locator(".heal-button").click()
    page.wait_for_selector(".proof.good >> nth=-1", timeout=60_000)
    page.wait_for_timeout(5000)
    photograph("healed")


def photograph_all(base: str, out: Path, link: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for size, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB")
                still_pages(context, base, out, f"{size}-{scheme}")
                context.close()
        demo_pages(browser, base, out, link)
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", nargs="?", help="front of a running platform; without it one is started")
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "docs/images")
    parser.add_argument("--link", default="", help="demo link with a one-time token")
    arguments = parser.parse_args()
    if arguments.base:
        urllib.request.urlopen(f"{arguments.base}/", timeout=5).close()
        photograph_all(arguments.base.rstrip("/"), arguments.out, arguments.link)
    else:
        with platform() as (front, demo_link):
            photograph_all(front, arguments.out, demo_link)
