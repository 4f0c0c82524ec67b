"""What ``eisbach status`` shows below its first sentence."""

from typing import Any

import pytest

from eisbach.cli.status import _show


def test_what_the_sentence_does_not_say_in_full_is_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    status: dict[str, Any] = {
        "sentence": "Nobody is hurt. Worst. And 2 more notices, each on a line of its own below.",
        "frozen": [{"sentence": "Worst."}],
        "unfinished": [{"sentence": "A store was lost."}, {"sentence": "Another, too."}],
        "demo": {"state": "none"},
    }

    _show({**dict.fromkeys(("hurt", "regions", "processes", "replication", "hub", "jobs", "faults"), ()), **status})

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == status["sentence"]
    assert lines[1:3] == ["notice  A store was lost.", "notice  Another, too."]
    assert "Worst." not in "".join(lines[1:])
