"""What other programs answered, in the sentences of ``status``: their own words, bounded, never half a JSON answer."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eisbach.bootstrap.control_client import HttpMoves
from eisbach.bootstrap.serve import problem
from eisbach.deploy.laptop.impact import summarise
from eisbach.deploy.laptop.observer import in_words
from eisbach.deploy.laptop.probe import probe
from eisbach.deploy.laptop.supervised import Change, describe_exit
from eisbach.deploy.laptop.topology import Ready
from eisbach.deploy.laptop.unfinished import unfinished
from eisbach.deploy.laptop.words import bounded, own_words
from eisbach.kernel.errors import EisbachError

from .test_impact import about, parts

LONG = "slot eu/de/main/3 has no cell that answers " * 40
PROBLEM = bytes(problem(503, "unavailable", "no cell owns this slot").body).decode()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain words", "plain words"),
        (f"answered 503: {PROBLEM}", "answered 503: no cell owns this slot"),
        (f"answered 503: {PROBLEM[:60]}", "answered 503 …"),
        ('{"title":"unavailable"} and {"error":"full"}', "unavailable and full"),
        (
            'answered 503: {"ready":false,"missing":["writes are stopped: full","no slot"]}',
            "answered 503: writes are stopped: full; no slot",
        ),
        ('{"missing":[]}', "an answer without words"),
        ('ended: {"a":{"b":1}}', "ended: an answer without words"),
        ("a set {c1, c2} and {} and { ", "a set {c1, c2} and an answer without words and {"),
        ('{"a":' * 5000, " …"),
        ("", ""),
    ],
)
def test_of_a_json_answer_its_own_words_are_said_and_of_half_a_one_nothing(text: str, wanted: str) -> None:
    assert own_words(text) == wanted


@pytest.mark.parametrize("most", [10, 40, 160])
def test_a_text_is_cut_between_words(most: int) -> None:
    found = bounded(LONG, most)

    assert len(found) <= most
    assert LONG.startswith(found.removesuffix(" …"))
    assert found.removesuffix(" …").split()[-1] in LONG.split()
    assert bounded("x" * 500, most) == "x" * (most - 2) + " …"


async def test_a_process_that_is_not_ready_is_quoted_in_its_own_words_also_when_they_come_late() -> None:
    body = problem(503, "unavailable", f"no cell owns this slot. {LONG}").body

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        found = await probe(Ready(kind="http", at=f"{url}/readyz"), seconds=5)
        with pytest.raises(EisbachError, match="answered 503 to /cells: no cell owns this slot") as refused:
            await HttpMoves(url, "t").records()

    assert found is not None
    assert found.startswith(f"{url}/readyz answered 503: no cell owns this slot. slot eu/de")
    assert (found.endswith(" …"), "{" in found, "{" in str(refused.value)) == (True, False, False)


def test_a_process_that_ended_with_a_json_line_in_its_log_is_quoted_in_its_own_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(json.dumps({"level": "error", "event": "disk is full", "more": LONG[:600]}))

    assert describe_exit(1, log) == "ended with code 1: disk is full"


def test_the_sentence_is_bounded_whatever_processes_say_and_holds_no_half_of_an_answer() -> None:
    answer = json.dumps({"type": "about:blank", "title": "unavailable", "more": LONG, "detail": LONG})
    told = {"action": "evacuate", "other": "eu-west", "open": 9, "slots": {f"eu/de/main/{n}": answer for n in range(9)}}
    circumstances: Any = {
        "alarms": [f"cell/eu-central/c{n} takes no writes: {answer}" for n in range(9)],
        "unfinished": unfinished({"control/eu-central": {"unfinished": told}}),
    }
    change = Change(
        at_ms=1, target="cell/eu-central/c1", before="ready", after="unready", why=f"answered 503: {answer}"
    )
    for about_it in (circumstances, {}):
        states = {"eu-central": "down", "single": "down"} if about_it else {}

        sentence = summarise(
            parts("regions", 2, states), replace(about("regions", **about_it), last=in_words(change))
        ).sentence

        assert "last change: cell/eu-central/c1 unready (answered 503: slot eu/de/main/3 has no cell" in sentence
        assert "{" not in sentence
        assert len(sentence) < 2500
