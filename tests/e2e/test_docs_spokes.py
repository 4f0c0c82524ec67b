"""docs/spokes.md, done as it says: a spoke of ten lines, broken, found in the dead letters, redriven."""

import json
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import expect

from .browser import chromium
from .platform import EISBACH, ROOT, Platform, running

PAGE = (ROOT / "docs/spokes.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SHELL = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
GOOD, BROKEN, TEST = PYTHON


def test_the_spokes_own_test_passes_as_printed(tmp_path: Path) -> None:
    (tmp_path / "welcome.py").write_text(GOOD)
    (tmp_path / "test_welcome.py").write_text(TEST)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "test_welcome.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.processes
def test_a_new_user_adds_a_spoke_breaks_it_and_redrives_its_dead_letter(tmp_path: Path) -> None:
    with running(tmp_path / "data", stage="hub", network="127.0.46", arguments=("--no-demo",)) as platform:
        edge = platform.status()["regions"][0]["edge"].removeprefix("http://")

        def shell(text: str) -> str:
            script = text.replace("localhost:8000", edge).replace("eisbach ", f"{shlex.quote(str(EISBACH))} ")
            done = subprocess.run(
                ["sh", "-c", script], env=platform.environment, capture_output=True, text=True, timeout=60, check=True
            )
            return done.stdout

        def row() -> dict:
            return _row(platform) or {"handled": -1}

        file = tmp_path / "data/spokes/welcome.py"
        file.write_text(GOOD)
        platform.until("it is loaded", lambda: row()["handled"] >= 0, 20)
        shell(SHELL[0])
        platform.until("the first viewer is welcomed", lambda: row()["handled"] == 1, 20)

        file.write_text(BROKEN)
        time.sleep(2.5)  # the folder is looked at once a second
        shell(SHELL[1])
        (letter,) = platform.until("dead", lambda: platform.eisbach("events", "dead-letters")["dead_letters"], 40)
        shown = platform.eisbach("events", "show", f"{letter['region']}/{letter['number']}")
        listed = shell(SHELL[2])

        assert letter["reason"] == "RuntimeError: the mail server is away"
        assert len(letter["history"]) == 2
        assert "welcome.py" in shown["stacks"][-1]
        assert shown["body"]["type"] == "tv.account.created.v1"
        assert "the mail server is away" in listed

        file.write_text(GOOD)
        time.sleep(2.5)
        assert "1 dead letter at work again" in shell(SHELL[3])
        platform.until("the second is welcomed after all", lambda: row()["handled"] == 1, 20)
        assert platform.eisbach("events", "dead-letters")["dead_letters"] == []

        file.write_text("def (")
        refused = platform.until("said", lambda: platform.eisbach("events", "spokes")["refused"], 20)
        assert "SyntaxError" in refused[0]["why"]
        _followed(platform, edge)
        platform.eisbach("events", "pause", "spoke/eu-central/publish")
        paused = {r["spoke"] for r in platform.eisbach("events", "spokes")["spokes"] if r["paused"]}
        assert paused == {"publish"}


@pytest.mark.processes
@pytest.mark.browser
@pytest.mark.timeout(180)
def test_a_new_user_finds_the_dead_letter_in_the_console_and_redrives_it_there(tmp_path: Path) -> None:
    with running(tmp_path / "data", stage="hub", network="127.0.47", arguments=("--no-demo",)) as platform:
        file = tmp_path / "data/spokes/welcome.py"
        file.write_text(BROKEN)
        platform.until("it is loaded", lambda: _row(platform) is not None, 20)
        script = SHELL[1].replace("localhost:8000", platform.status()["regions"][0]["edge"].removeprefix("http://"))
        subprocess.run(["sh", "-c", script], stdout=subprocess.DEVNULL, timeout=60, check=True)
        said = subprocess.run([EISBACH, "status"], env=platform.environment, capture_output=True, text=True, check=True)
        link = re.search(r"^console +(\S+)$", said.stdout, re.MULTILINE)
        assert link is not None, said.stdout

        with chromium() as browser:
            page = browser.new_page()
            page.goto(link[1])
            page.get_by_role("link", name="Events").click()
            page.get_by_role("button", name="1 dead letters of welcome").click(timeout=30_000)
            page.get_by_role("button", name="welcome eu-central/1").click()
            event, stack = page.get_by_label("The event"), page.get_by_label("Stack of the last attempt")
            expect(event).to_contain_text('"type": "tv.account.created.v1"')
            expect(stack).to_contain_text("RuntimeError: the mail server is away")
            body = platform.eisbach("events", "show", "eu-central/1")["body"]
            expect(event).to_contain_text(f'"hlc": "{body["hlc"]}"')  # 64 bits, which a browser's numbers round

            page.get_by_role("button", name="Redrive eu-central/1").click()
            expect(page.get_by_role("status").filter(has_text="at work again in welcome")).to_be_visible()
            page.get_by_role("button", name="Redrive eu-central/2").wait_for(timeout=30_000)  # still broken: it is back

            file.write_text(GOOD)
            platform.until("mended", lambda: (_row(platform) or {}).get("failures") == 0, 20)
            page.get_by_role("button", name="Redrive eu-central/2").click()
            expect(page.get_by_text("Nothing was set aside.")).to_be_visible()
            expect(page.locator("li", has_text="welcome").get_by_text("1 handled")).to_be_visible(timeout=20_000)

            platform.eisbach("events", "pause", "spoke/eu-central/welcome")
            subprocess.run(["sh", "-c", script.replace("second", "third")], stdout=subprocess.DEVNULL, check=True)
            flow = page.get_by_label("Spokes").locator("li", has_text="welcome")
            expect(page.get_by_label("Cells")).to_contain_text("c1")
            expect(flow).to_contain_text("1 waiting", timeout=20_000)
            expect(flow).to_contain_text("oldest")


def _followed(platform: Platform, edge: str) -> None:
    """``tail`` shows what comes once it follows: viewers arrive until it has seen one."""
    words = [EISBACH, "events", "tail", "--json", "--type", "tv.account", "--limit", "1"]
    tail = subprocess.Popen(words, env=platform.environment, stdout=subprocess.PIPE, text=True)
    arrived: list[str] = []

    def seen() -> bool:
        body = json.dumps({"device_id": f"device-{len(arrived)}", "plat": "web"}).encode()
        call = urllib.request.Request(
            f"http://{edge}/v1/auth/anonymous", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(call, timeout=10) as answer:
            arrived.append(answer.read().decode())
        return tail.poll() is not None

    try:
        platform.until("an event is followed", seen, 30)
    finally:
        tail.kill()
        said, _ = tail.communicate()
    event = json.loads(said)
    assert (event["specversion"], event["type"]) == ("1.0", "tv.account.created.v1")
    assert any(event["subject"] in one for one in arrived)


def _row(platform: Platform) -> dict | None:
    rows = platform.eisbach("events", "spokes")["spokes"]
    return next((row for row in rows if row["spoke"] == "welcome"), None)
