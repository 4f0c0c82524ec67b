"""kill -9 of the supervisor leaves nothing behind, and the same data can be started again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eisbach.deploy.laptop.ground import end_leftovers, read_lock

from .conftest import alive, until

pytestmark = pytest.mark.processes
ROOT = Path(__file__).parents[2]


def start(root: Path) -> tuple[subprocess.Popen[str], list[int]]:
    command = [sys.executable, "-m", "tests.deploy.supervise", str(root), "8150"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, [int(word) for word in process.stdout.readline().split()]


async def test_a_killed_supervisor_takes_everything_with_it_and_the_data_start_again(tmp_path: Path) -> None:
    for _ in range(2):
        process, pids = start(tmp_path)
        assert len(pids) == 3
        process.kill()
        process.wait(5)
        assert process.stdout is not None
        process.stdout.close()

        await until("nothing is left", lambda pids=pids: not any(alive(pid) for pid in pids), seconds=5)
        assert read_lock(tmp_path) is None


async def test_what_outlived_supervisor_and_zygote_is_ended_by_the_next_start(tmp_path: Path) -> None:
    process, pids = start(tmp_path)
    os.kill(pids[2], signal.SIGSTOP)  # a zygote that cannot clean up
    process.kill()
    process.wait(5)
    assert process.stdout is not None
    process.stdout.close()
    await until("the child dies with its parent", lambda: not alive(pids[0]), seconds=5)
    assert alive(pids[1])

    again, new = start(tmp_path)

    assert not alive(pids[1])
    for pid in (pids[2], again.pid):
        os.kill(pid, signal.SIGKILL)
    again.wait(5)
    assert again.stdout is not None
    again.stdout.close()
    await until("nothing is left", lambda: not any(alive(pid) for pid in new), seconds=5)


def test_a_strangers_process_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        ended = end_leftovers(tmp_path, [stranger.pid])

        assert (ended, alive(stranger.pid)) == ([], True)
    finally:
        stranger.kill()
        stranger.wait()
