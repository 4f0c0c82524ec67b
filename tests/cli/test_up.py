"""``eisbach up`` as a person runs it: ready, refused twice, restarted after a kill, gone after Ctrl-C."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.processes
EISBACH = Path(__file__).parents[2] / ".venv/bin/eisbach"
ENVIRONMENT = {**os.environ, "EISBACH_NETWORK": "127.0.25", "COLUMNS": "200"}


def eisbach(data: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [EISBACH, *words, "--data", str(data)], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def status(data: Path) -> dict[str, Any]:
    return json.loads(eisbach(data, "status", "--json")[1])


def until_ready(data: Path, process: "subprocess.Popen[str]") -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while not (found := status(data)).get("ready"):
        assert process.poll() is None, "eisbach up ended"
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def up(data: Path, stage: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [EISBACH, "up", "--stage", stage, "--no-demo", "--data", str(data)],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)


def session_of(root: int) -> list[int]:
    """A process and all its descendants."""
    found = [root]
    for pid in found:
        children = Path(f"/proc/{pid}/task/{pid}/children")
        found += [int(word) for word in children.read_text().split()] if children.exists() else []
    return found


def test_ctrl_c_leaves_nothing_behind_and_the_same_data_start_again(tmp_path: Path) -> None:
    for _ in range(2):
        with up(tmp_path, "cells") as process:
            until_ready(tmp_path, process)
            pids = session_of(process.pid)
            assert len(pids) > 12
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            said, _ = process.communicate(timeout=20)

        assert process.returncode == 0
        assert [pid for pid in pids if alive(pid)] == []
        assert "everything is stopped; your data are kept" in said


def test_a_second_start_and_a_taken_port_are_refused_with_who_is_in_the_way(tmp_path: Path) -> None:
    with up(tmp_path / "one", "single") as process:
        until_ready(tmp_path / "one", process)
        pid = status(tmp_path / "one")["processes"][0]["pid"]

        same_data = eisbach(tmp_path / "one", "up", "--stage", "single", "--no-demo")
        same_ports = eisbach(tmp_path / "two", "up", "--stage", "single", "--no-demo")

    assert same_data[0] == 2
    assert f"is in use by eisbach up, pid {process.pid}" in same_data[1]
    assert same_ports[0] == 2
    assert f"127.0.25.1:8080 (single) is used by pid {pid}" in same_ports[1]
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize("words", [("--stage", "none"), ("--stage", "cells", "--regions", "3")])
def test_options_that_cannot_be_leave_no_data_folder(tmp_path: Path, words: tuple[str, ...]) -> None:
    code, said = eisbach(tmp_path / "new", "up", *words)

    assert (code, "stage" in said) == (2, True)
    assert not (tmp_path / "new").exists()


def test_faults_and_answers_from_the_command_line(tmp_path: Path) -> None:
    with up(tmp_path, "single") as process:
        first = until_ready(tmp_path, process)["processes"][0]["pid"]

        assert eisbach(tmp_path, "fault", "kill", "single")[0] == 0
        deadline = time.monotonic() + 20
        while (found := status(tmp_path)["processes"][0])["pid"] in (None, first) or found["state"] != "ready":
            assert time.monotonic() < deadline
        assert found["restarts"] == 1

        assert eisbach(tmp_path, "fault", "down", "single")[0] == 0
        code, said = eisbach(tmp_path, "status")
        assert code == 1
        assert said.startswith("Hurt since")
        assert "Next: eisbach heal single" in said
        assert "fault down" in eisbach(tmp_path, "why", "single")[1]
        code, said = eisbach(tmp_path, "fault", "down", "singel")
        assert (code, "did you mean 'single'" in said) == (2, True)
        assert eisbach(tmp_path, "heal")[1].startswith("healed: single")
        until_ready(tmp_path, process)
        assert "single" in eisbach(tmp_path, "changes")[1]
        assert "cell_open" in eisbach(tmp_path, "logs", "single")[1]
