"""The ground: what a system does not give is refused with what to do, before anything starts."""

import fcntl
import os
import resource
from pathlib import Path

import pytest

from eisbach.cli.talk import find
from eisbach.deploy.laptop import ground
from eisbach.deploy.laptop.ground import Lock, files_lacking, read_lock, settle
from eisbach.kernel.errors import Invalid, Unavailable


def test_too_few_open_files_are_refused_with_the_number_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))

    with pytest.raises(Invalid, match=r"at most 4096 files .* needs 4608; raise it"):
        settle()


@pytest.mark.parametrize("hard", [4608, resource.RLIM_INFINITY])
def test_a_low_soft_limit_is_nothing_to_refuse(hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))

    assert files_lacking() == ""


@pytest.mark.parametrize("where", ["file", "file/inside", "/proc/eisbach"])
def test_a_place_that_cannot_be_a_data_folder_is_refused_in_a_sentence(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(Invalid, match=r"cannot be a data folder: .*; name one that can be written"):
        Lock(tmp_path / where)


def test_a_command_that_asks_who_holds_a_folder_writes_nothing_into_it(tmp_path: Path) -> None:
    """It may come before the first start, under a umask that is not the platform's."""
    assert read_lock(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("removed", [False, True], ids=["as it was", "its file removed"])
def test_a_folder_that_a_supervisor_holds_lets_no_second_one_in(tmp_path: Path, *, removed: bool) -> None:
    """Two would write the same stores; of the file alone whoever removed it had let the next one in."""
    held = Lock(tmp_path)
    held.write({"console": "http://127.0.63.1:8001"})
    if removed:
        (tmp_path / "lock").unlink()

    with pytest.raises(Invalid, match=rf"is in use by eisbach up, pid {os.getpid()}; stop that one"):
        Lock(tmp_path)
    found = read_lock(tmp_path)
    assert (tmp_path / "lock").exists() is not removed, "who is refused has written nothing"
    held.close()

    assert found == ({} if removed else {"pid": os.getpid(), "console": "http://127.0.63.1:8001"})
    assert read_lock(tmp_path) is None
    Lock(tmp_path).close()


def test_a_command_that_looks_at_the_folder_in_that_moment_refuses_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``eisbach status`` in a loop beside ``eisbach up``: "is in use by eisbach up, pid unknown", one start in 300."""
    flock, looking = fcntl.flock, os.open(tmp_path, os.O_RDONLY)
    flock(looking, fcntl.LOCK_SH)
    tried: list[int] = []

    def tries(descriptor: int, how: int) -> None:
        tried.append(how)
        if len(tried) == 3:  # the command is done
            flock(looking, fcntl.LOCK_UN)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", tries)
    held = Lock(tmp_path)
    with pytest.raises(Invalid, match="is in use"):
        Lock(tmp_path)
    held.close()
    os.close(looking)


def test_where_the_kernel_does_not_tell_who_holds_a_folder_the_refusal_is_still_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Lock(tmp_path)
    monkeypatch.setattr(ground, "_LOCKS", tmp_path / "none")

    with pytest.raises(Invalid, match="is in use by eisbach up, pid unknown; stop that one"):
        Lock(tmp_path)
    held.close()


def test_a_command_to_a_platform_whose_lock_file_is_gone_says_that_one_runs(tmp_path: Path) -> None:
    held = Lock(tmp_path)
    (tmp_path / "lock").unlink()

    with pytest.raises(Unavailable, match=r"runs on .*, but .*/lock does not say where it answers: .* was removed"):
        find(str(tmp_path))
    held.close()
