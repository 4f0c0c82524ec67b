"""The house rules that no linter knows: sizes, docstrings, a tidy tree, one architecture."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "eisbach"
LINES_PER_FUNCTION, LINES_PER_FILE, PARAMETERS, OPTIONS_OF_A_VERB = 70, 400, 6, 10
LAYOUT = {
    "kernel", "ports", "domain", "engines", "edge", "cell", "hub", "media", "spokes", "control", "web", "plan",
    "gameday", "testing", "deploy", "cli", "bootstrap", "settings.py", "__init__.py", "py.typed",
}  # fmt: skip


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def test_the_folder_list_is_the_architecture() -> None:
    found = {p.name for p in SOURCE.iterdir() if p.name != "__pycache__"}

    assert found <= LAYOUT, f"not in design section 9: {found - LAYOUT}"


def test_every_module_opens_with_what_it_is_for() -> None:
    bare = [str(p.relative_to(ROOT)) for p in modules() if len(ast.get_docstring(ast.parse(p.read_text())) or "") < 20]

    assert bare == []


def test_files_functions_and_parameter_lists_stay_small() -> None:
    large: list[str] = []
    for path in modules():
        text = path.read_text()
        where = path.relative_to(ROOT)
        if (lines := text.count("\n")) > LINES_PER_FILE:
            large.append(f"{where}: {lines} lines, at most {LINES_PER_FILE}")
        for function in functions(ast.parse(text)):
            length = (function.end_lineno or 0) - function.lineno + 1
            arguments = [a.arg for a in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
            count = len([a for a in arguments if a not in ("self", "cls")])
            # What a verb of the command line takes is what people type, each with its help; nobody calls it in code.
            most = OPTIONS_OF_A_VERB if function.name == "command" and "cli" in where.parts else PARAMETERS
            if length > LINES_PER_FUNCTION or count > most:
                large.append(f"{where}:{function.lineno} {function.name}: {length} lines, {count} parameters")

    assert large == []


def test_the_arrows_point_down() -> None:
    """import-linter holds design section 9; a package off the path would check nothing, so the exit code counts."""
    done = subprocess.run([ROOT / ".venv/bin/lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-3000:]


def test_who_catches_what_msgspec_says_of_bytes_catches_what_it_says_of_letters() -> None:
    """Bytes that are no UTF-8 are a ``UnicodeDecodeError``, which is no ``DecodeError``: a viewer's was a 500."""
    half = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in modules()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.match(r"\s*(except|with contextlib\.suppress)\b.*msgspec\.DecodeError", line)
        and not re.search(r"UnicodeDecodeError|ValueError", line)
    ]

    assert half == []


HELD = ("kernel", "ports", "domain", "hub", "cell", "spokes", "control", "edge", "testing/world")
"""What runs in the simulated world, and the world itself: one look past a port, and a seed repeats nothing."""
NOT_IMPORTED = {"time", "uuid", "threading", "secrets", "concurrent", "multiprocessing", "queue", "socket"}
NOT_USED = {
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"), ("os", "urandom"),
    ("asyncio", "to_thread"),
}  # fmt: skip
DRIVERS = {"testing/world/many.py", "testing/world/report.py"}
"""They play whole worlds and count real CPU; nothing of them is inside one."""

ENTROPY = "import secrets"
"""Allowed in ``cell/archive*``: keys and nonces of backups come from the machine's entropy and from nowhere else."""


def reaches_past_a_port(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Imports and uses of the machine's own time, chance and threads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from ((node.lineno, f"import {n}") for n in names if n.partition(".")[0] in NOT_IMPORTED)
            if isinstance(node, ast.ImportFrom) and node.module == "random":
                yield from ((node.lineno, f"from random import {a.name}") for a in node.names if a.name != "Random")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = (node.value.id, node.attr)
            if used in NOT_USED or (used[0] == "random" and used[1] != "Random"):
                yield node.lineno, ".".join(used)
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "run_in_executor"
        ):
            yield node.lineno, "run_in_executor"


def test_no_clock_randomness_or_thread_outside_engines_and_composition() -> None:
    """What runs in the simulated world may ask time, chance and threads only through ports."""
    found: list[str] = []
    for path in modules():
        where = path.relative_to(SOURCE).as_posix()
        if where.startswith(tuple(f"{held}/" for held in HELD)) and where not in DRIVERS:
            reached = reaches_past_a_port(ast.parse(path.read_text()))
            allowed = {ENTROPY} if where.startswith("cell/archive") else set()
            found += [f"{where}:{line} {what}" for line, what in reached if what not in allowed]

    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "import time", "from uuid import uuid4", "import random\nrandom.random()", "from random import choice",
        "import threading", "import datetime\ndatetime.now()", "loop.run_in_executor(None, f)", "import os\nos.urandom(8)",
    ],
)  # fmt: skip
def test_the_lint_finds_what_reaches_past_a_port(text: str) -> None:
    assert list(reaches_past_a_port(ast.parse(text)))


def test_no_registry_host_of_a_workplace_is_named_in_the_lock() -> None:
    hosts = set(re.findall(r'registry = "([^"]*)"', (ROOT / "uv.lock").read_text()))

    assert hosts == {"https://pypi.org/simple"}


@pytest.mark.parametrize(
    "name", ["LICENSE", "NOTICE", "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"]
)
def test_what_a_visitor_looks_for_is_there(name: str) -> None:
    assert (ROOT / name).stat().st_size > 200
