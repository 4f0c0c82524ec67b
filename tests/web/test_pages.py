"""What the pages promise whoever opens them, whatever serves them: they load, keys suffice, nothing bars the way."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Page, expect

from eisbach.deploy.laptop.cuts import Cuts
from eisbach.deploy.laptop.impact import Circumstances, summarise
from eisbach.deploy.laptop.lost_stores import lost_stores
from eisbach.deploy.laptop.outs import outs

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
AXE = (Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js").read_text
PAGES = {
    "home": "/#/", "title": "/#/title/bunny", "channels": "/#/live", "list": "/#/list", "search": "/#/search/bunny", "player": "/#/watch/bunny",
    "live": "/#/live/demo", "demo": "/demo/", "console": "/console/", "faults": "/console/#/faults",
    "events": "/console/#/events",
}  # fmt: skip


def settled(page: Page, name: str) -> None:
    """Until the page shows what it is for."""
    ready = {
        "player": ".player .controls", "live": ".player .controls", "demo": ".red-button", "console": "table",
        "faults": ".kinds", "events": ".flow, .only-watching, main .problem", "list": "main h1", "search": ".search-count", "channels": ".channel-line", "title": ".title-page h1",
    }.get(name, ".hero h1")  # fmt: skip
    page.locator(ready).first.wait_for(timeout=20_000)


def barriers(page: Page) -> list[str]:
    """What axe calls serious or critical."""
    page.evaluate(AXE())
    found: dict[str, Any] = page.evaluate("axe.run(document, {iframes: false})")
    return [
        f"{v['id']}: {node['html'][:160]}"
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(page: Page, name: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(PAGES[name])
    settled(page, name)

    found = barriers(page)

    assert found == []


@pytest.mark.parametrize("name", ["home", "title", "channels", "list", "search", "demo", "console", "faults", "events"])
def test_a_phone_needs_no_sideways_scrolling(page: Page, name: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(PAGES[name])
    settled(page, name)

    beyond = page.evaluate("document.documentElement.scrollWidth - innerWidth")

    assert beyond <= 0


def test_arrow_keys_and_enter_lead_from_home_to_a_playing_picture(page: Page) -> None:
    page.goto("/")
    settled(page, "home")
    page.keyboard.press("ArrowDown")
    page.locator(".hero .primary").focus()

    page.keyboard.press("ArrowRight")
    assert "#/title/" in page.evaluate("document.activeElement.href")
    page.keyboard.press("Enter")
    page.locator(".title-page .primary").focus()
    page.keyboard.press("Enter")

    page.wait_for_function("window.eisbach.state === 'playing' && window.eisbach.currentTime > 1", timeout=30_000)


def test_what_is_typed_is_found_and_the_address_keeps_it(page: Page) -> None:
    page.goto("/#/")
    settled(page, "home")
    page.get_by_role("link", name="Search").click()
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("big bunn", delay=20)

    expect(page.locator(".search-count")).to_contain_text("1 found")
    expect(page.locator(".grid a").first).to_have_attribute("href", "#/title/bunny")
    page.keyboard.type(" zzz")
    expect(page.locator(".notice")).to_contain_text("Nothing found for “big bunn zzz”")
    assert page.url.endswith("#/search/big%20bunn%20zzz")
    page.go_back()
    settled(page, "home")


def test_the_players_keys(page: Page) -> None:
    page.goto("/#/watch/bunny")
    page.wait_for_function("window.eisbach.state === 'playing' && window.eisbach.currentTime > 1", timeout=30_000)
    video = page.locator("video")

    page.keyboard.press(" ")
    page.wait_for_function("window.eisbach.state === 'paused'")
    before = video.evaluate("v => v.currentTime")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"document.querySelector('video').currentTime > {before} + 9")
    muted = video.evaluate("v => v.muted")
    page.keyboard.press("m")
    assert video.evaluate("v => v.muted") is not muted
    page.keyboard.press("Escape")

    page.wait_for_url("**/#/title/bunny")


def test_a_title_saved_is_on_the_list_after_a_reload(page: Page) -> None:
    page.goto("/#/title/garden")
    save = page.get_by_role("button", name="Add to my list")
    with page.expect_response(lambda r: "watchlist" in r.url and r.request.method == "PUT"):
        save.click()

    page.goto("/#/list")
    page.reload()

    expect(page.locator("main .grid").get_by_text("The English Garden")).to_be_visible()
    with page.expect_response(lambda r: "watchlist" in r.url and r.request.method == "DELETE"):
        page.goto("/#/title/garden")
        page.get_by_role("button", name="Remove from my list").click()


def test_german_is_one_button_away_and_stays(page: Page) -> None:
    page.goto("/")
    settled(page, "home")

    page.get_by_role("button", name="Switch language to German").click()
    page.reload()

    expect(page.get_by_role("link", name="Merkliste")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "de"


def test_light_is_one_button_away_and_stays(page: Page) -> None:
    page.goto("/")
    settled(page, "home")

    page.get_by_role("button", name="Switch to light").click()
    page.reload()

    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"


def test_an_unknown_title_says_so(page: Page) -> None:
    page.goto("/#/title/nothing-of-the-kind")

    expect(page.get_by_role("alert")).to_contain_text("There is nothing at this address")


def test_the_red_button_darkens_the_left_and_the_right_plays_on_until_healed(page: Page) -> None:
    page.goto("/demo/")
    expect(page.locator(".verdict").nth(0)).to_have_text("playing", timeout=40_000)
    expect(page.locator(".verdict").nth(1)).to_have_text("playing", timeout=40_000)

    page.locator(".red-button").click()

    expect(page.locator(".verdict").nth(0)).to_contain_text("dark", timeout=40_000)
    expect(page.locator(".stage").nth(1).locator(".chip.on")).to_have_text("eu-west", timeout=20_000)
    expect(page.locator(".verdict").nth(1)).to_have_text("playing on", timeout=20_000)
    page.get_by_role("button", name="Reload").nth(0).click()  # into nothing: the browser's own error page
    page.wait_for_timeout(2500)
    page.locator(".heal-button").click()
    expect(page.locator(".proof").nth(1)).to_contain_text("are there, by id", timeout=40_000)
    expect(page.locator(".verdict").nth(0)).to_have_text("playing", timeout=40_000)
    expect(page.locator("h1")).to_have_text("Healed. Nothing was lost.")


def test_the_console_follows_a_fault_without_a_reload(page: Page) -> None:
    page.goto("/console/#/faults")
    settled(page, "faults")

    page.get_by_role("button", name="down region/eu-central crashes").click()

    expect(page.locator(".active li")).to_contain_text("region/eu-central", timeout=10_000)
    page.get_by_role("link", name="Overview").click()
    expect(page.locator(".sentence")).to_contain_text("eu-central")
    page.get_by_role("link", name="Faults").click()
    page.get_by_role("button", name="Heal everything").click()
    expect(page.get_by_text("Nothing is broken on purpose.")).to_be_visible(timeout=10_000)


def said_open() -> dict[str, Any]:
    """What status says while a region is out, slots are frozen and a control store was lost, by the code that says it."""
    now = 1_800_000_000_000
    cuts = Cuts()
    cuts.note("cell/eu-west/c1", ["eu/de/main/0", "eu/de/main/1"], now_ms=now - 42_000)
    frozen = cuts.standing({"eu-west": ("down", True)}, now_ms=now)
    figures = {
        "control/eu-central": {"out": {"other": "eu-west", "since_ms": now - 60_000, "slots": 128}},
        "control/eu-west": {"store_lost": {"at_ms": now - 90_000, "from": "map.json", "moves": {}, "count": 0}},
    }
    ends = lost_stores(figures)
    summary = summarise((), Circumstances(stage="regions", now_ms=now, cuts=frozen, unfinished=ends))
    told = {
        "sentence": summary.sentence,
        "who": summary.who,
        "next": summary.next,
        "unfinished": ends,
        "frozen": frozen,
    }
    return dict(msgspec.to_builtins(told | {"out": outs(figures, ["eu-central"])}))


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("page_of", ["console", "faults"])
def test_the_console_says_each_thing_that_stands_open_once_with_where_it_is_and_what_to_do(
    page: Page, page_of: str, scheme: str
) -> None:
    said = said_open()
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.request.post("/dev/status", data=said)
    page.set_viewport_size({"width": 390, "height": 844})

    page.goto(PAGES[page_of])
    settled(page, page_of)

    box = page.get_by_role("status", name="Who is hurt")
    expect(box.locator(".said")).to_have_text(said["who"])
    expect(box.locator(".ends li")).to_have_count(3)
    for one, word, target in zip(
        [*said["out"], *said["frozen"], *said["unfinished"]],
        ["evacuated", "frozen", "open"],
        ["region/eu-central", "cell/eu-west/c1", "control/eu-west"],
        strict=True,
    ):
        item = box.get_by_role("listitem").filter(has_text=word)
        expect(item.get_by_text(one["sentence"], exact=True)).to_have_count(1)
        expect(item.locator("code")).to_have_text(one["next"])
        item.get_by_role("button", name=target).focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog", name=target)).to_be_visible()
        page.keyboard.press("Escape")
        expect(item.get_by_role("button", name=target)).to_be_focused()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert barriers(page) == []


def test_region_and_cell_bear_what_stands_open_and_lose_it_when_it_is_over(page: Page) -> None:
    page.request.post("/dev/status", data=said_open())
    page.goto("/console/")
    settled(page, "console")
    central, west = (page.locator(".region").filter(has_text=name) for name in ("eu-central", "eu-west"))
    expect(central.locator("header")).to_contain_text("evacuated")
    expect(west.locator("header")).not_to_contain_text("evacuated")
    expect(west.locator(".cell").filter(has_text="frozen")).to_have_count(1)
    expect(west.locator(".cell").filter(has_text="2 frozen")).to_contain_text("c1")

    page.request.post("/ops/heal", data={})

    expect(page.locator(".ends")).to_have_count(0)
    expect(page.get_by_text("evacuated")).to_have_count(0)
    expect(page.get_by_text("frozen")).to_have_count(0)


def test_a_home_without_any_title_says_so(page: Page) -> None:
    page.route("**/home", lambda route: route.fulfill(json={"version": 1, "rails": []}))

    page.goto("/")

    expect(page.get_by_role("heading", name="Nothing here yet")).to_be_visible()


def test_a_phone_shows_every_page_of_the_console_without_a_swipe(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/console/")
    settled(page, "console")

    assert page.locator("nav[aria-label=Console]").evaluate("n => n.scrollWidth - n.clientWidth") <= 0


def test_a_phone_shows_the_hint_about_sound_whole_and_programme_times_by_24_hours(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/#/live")
    expect(page.locator(".channel-line").first).to_contain_text(re.compile(r"\d\d:\d\d"))
    assert not re.search(r"\d (AM|PM)", page.locator("main").inner_text())

    page.add_init_script("""
        const play = HTMLMediaElement.prototype.play;  // as a browser does that lets nothing play aloud by itself
        HTMLMediaElement.prototype.play = function () {
            return this.muted ? play.call(this) : Promise.reject(new DOMException("aloud", "NotAllowedError"));
        };
    """)
    page.goto("/#/watch/bunny")
    page.reload()

    box = page.locator(".unmute").bounding_box(timeout=30_000)
    assert box is not None
    assert box["x"] >= 12
    assert box["x"] + box["width"] <= 390 - 12


def test_a_phone_breaks_no_heading_of_a_table_of_the_console_within_a_word(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/console/")
    settled(page, "console")

    lines = page.evaluate("""() => [...document.querySelectorAll("section[aria-labelledby=processes] thead th:not(.wide)")].map(th => {
        const range = document.createRange();
        range.selectNodeContents(th);
        return [th.innerText, range.getClientRects().length];
    })""")

    assert lines == [["Target", 1], ["State", 1], ["Requests", 1], ["Restarts", 1]]
    assert (
        page.locator("section[aria-labelledby=processes] .scroll").evaluate("e => e.scrollWidth - e.clientWidth") == 0
    )


def test_on_a_phone_nothing_of_channels_and_demo_is_cut_or_squeezed(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/#/live")
    expect(page.locator(".on-next").first).to_be_visible()
    wide = "found => found.filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
    assert page.locator(".on-now, .on-next").evaluate_all(wide) == []

    page.goto("/demo/")
    expect(page.locator(".verdict").nth(1)).to_have_text("playing", timeout=40_000)

    assert page.locator(".figures > div").evaluate_all(wide) == []
    heights = page.locator(".chip.plain").evaluate_all("found => found.map(e => e.getBoundingClientRect().height)")
    assert max(heights) < 28, "the cell's name is on one line"
    assert page.locator(".demo-top .brand svg").evaluate("e => e.getBoundingClientRect().width") == 30
