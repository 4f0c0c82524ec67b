"""Take the pictures of ``docs/images``: viewer, demo, console; phone and desktop; light and dark (``make screenshots``)."""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Page  # noqa: E402

from tests.e2e.browser import chromium  # noqa: E402
from tests.e2e.platform import Platform, call, running  # noqa: E402

IMAGES = ROOT / "docs" / "images"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
SCHEMES = ("light", "dark")


def one_time(platform: Platform, page: str) -> str:
    """An address that lets this browser press buttons."""
    token = (platform.data / "secrets" / "operator-token").read_text().strip()
    _, _, answer = call("POST", f"{platform.front}/ops/tickets", body={}, headers={"Authorization": f"Bearer {token}"})
    return f"{platform.front}/{page}/?token={answer['token']}"


def picture(page: Page, name: str) -> None:
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path)
    print(path.relative_to(ROOT))


def take(browser: Browser, platform: Platform, size: str, scheme: str) -> None:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB")  # type: ignore[arg-type]
    page = context.new_page()
    suffix = f"{size}-{scheme}"
    page.goto(f"{platform.front}/?muted#/")
    page.wait_for_timeout(2500)
    picture(page, f"viewer-home-{suffix}")
    page.goto(f"{platform.front}/?muted#/watch/demo-bunny")
    page.wait_for_function("window.eisbach && window.eisbach.currentTime > 1", timeout=30_000)
    page.mouse.move(width / 2, height / 2)
    page.wait_for_timeout(400)
    picture(page, f"viewer-watch-{suffix}")
    page.goto(one_time(platform, "console"))
    page.wait_for_timeout(2500)
    picture(page, f"console-{suffix}")
    page.goto(f"{platform.front}/console/#/faults")
    page.wait_for_timeout(1000)
    picture(page, f"faults-{suffix}")
    page.goto(one_time(platform, "demo"))
    page.wait_for_timeout(9000)
    picture(page, f"demo-{suffix}")
    page.get_by_role("button", name="Break it").click()
    page.wait_for_timeout(30_000)
    picture(page, f"demo-broken-{suffix}")
    platform.heal()
    context.close()


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="eisbach-pictures-") as folder:
        with running(Path(folder) / "data", stage="regions", network="127.0.47") as platform, chromium() as browser:
            platform.until("demo content", lambda: platform.status()["demo"]["state"] == "ready", 300)
            for size in SIZES:
                for scheme in SCHEMES:
                    take(browser, platform, size, scheme)


if __name__ == "__main__":
    main()
