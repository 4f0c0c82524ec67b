"""What the documents say is so: links lead somewhere, commands and options exist, tests that are named are there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from eisbach.cli.app import application

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCED = re.compile(r"^```(?:sh|console|bash|)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]


def lines(path: Path) -> Iterator[str]:
    """Commands in fenced blocks and in running text, without prompts."""
    yield from (text for text in re.findall(r"`(eisbach [^`\n]+)`", path.read_text()) if "..." not in text)
    for block in FENCED.findall(path.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            said = line.strip().removeprefix("$ ")
            if said:
                yield said


def commands() -> list[tuple[str, str]]:
    """(document, command line of ``eisbach``)."""
    found = []
    for path in DOCUMENTS:
        for said in lines(path):
            place = re.search(r"(?:^|\s)(?:\.venv/bin/|uvx )?eisbach (.+)$", said)
            if place and not said.startswith(("#", "eisbach:")):
                found.append((str(path.relative_to(ROOT)), place[1]))
    return found


def refused(text: str) -> str:
    """Why the command line cannot be, judged by its verbs and options; empty when it can."""
    try:
        words = shlex.split(re.split(r" [|>&] ?", text, maxsplit=1)[0], comments=True)
    except ValueError as error:
        return str(error)
    command: Any = typer.main.get_command(application())
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return f"no verb {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in known | {"--help"}]
    return f"no option {unknown[0]!r}" if unknown else ""


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    path = ROOT / name
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text())
    files = [link.split("#")[0] for link in links if not link.startswith(("http:", "https:", "#", "mailto:"))]

    assert [file for file in files if not (path.parent / file).exists()] == []


def test_every_command_that_is_shown_exists_with_its_options() -> None:
    shown = commands()

    assert len(shown) > 20, "the documents show commands; if none is found, this test looks wrongly"
    assert [(name, text, why) for name, text in shown if (why := refused(text))] == []


def test_a_verb_or_an_option_that_is_not_there_is_noticed() -> None:
    assert refused("stauts") == "no verb 'stauts'"
    assert refused("status --jsn") == "no option '--jsn'"
    assert refused("status --json") == ""


def test_every_test_that_a_document_names_is_there() -> None:
    suites = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "src/eisbach/testing").rglob("*.py")]
    there = "\n".join(path.read_text() for path in suites)
    named = {
        (str(path.relative_to(ROOT)), test)
        for path in DOCUMENTS
        for test in re.findall(r"`(?:\w+::)?(test_\w+)`", path.read_text())
    }

    assert len(named) > 10
    files = {path.stem for path in suites}
    assert sorted((name, test) for name, test in named if f"def {test}(" not in there and test not in files) == []


def test_every_make_target_that_is_shown_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {
        (str(path.relative_to(ROOT)), target)
        for path in DOCUMENTS
        for target in re.findall(r"(?:`|^)make ([a-z-]+)", path.read_text(), re.MULTILINE)
    }

    assert sorted((name, target) for name, target in shown if target not in targets) == []
