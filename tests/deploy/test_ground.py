"""The ground: what a system does not give is refused with what to do, before anything starts."""

import os
import resource
from pathlib import Path

import pytest

from eisbach.cli.talk import find
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


def test_a_command_to_a_platform_whose_lock_file_is_gone_says_that_one_runs(tmp_path: Path) -> None:
    held = Lock(tmp_path)
    (tmp_path / "lock").unlink()

    with pytest.raises(Unavailable, match=r"runs on .*, but .*/lock does not say where it answers: .* was removed"):
        find(str(tmp_path))
    held.close()
