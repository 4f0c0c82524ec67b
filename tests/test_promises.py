"""The pages of promises name tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "promises").glob("p*.md"))
CODE = "\n".join(
    path.read_text() for folder in ("tests", "src/eisbach/testing") for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_test_that_a_promise_names_exists(page: Path) -> None:
    text = page.read_text()

    functions = set(re.findall(r"(?:::|`)(test_\w+)", text)) | {f"test_{n}" for n in re.findall(r"`…(\w+)`", text)}
    files = set(re.findall(r"(tests/[\w/]+\.py)", text))

    assert {name for name in functions if f"def {name}(" not in CODE and not (ROOT / name).exists()} == set()
    assert {name for name in files if not (ROOT / name).exists()} == set()


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "promises" / "README.md").read_text()

    assert [page.name for page in PAGES if f"({page.name})" not in index] == []
