"""The ground: what a system does not give is refused with what to do, before anything starts."""

import os
import resource
from pathlib import Path

import pytest

from eisbach.deploy.laptop.ground import files_lacking, read_lock, settle
from eisbach.kernel.errors import Invalid


def test_too_few_open_files_are_refused_with_the_number_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))

    with pytest.raises(Invalid, match=r"at most 4096 files .* needs 4608; raise it"):
        settle(tmp_path / "data")


@pytest.mark.parametrize("hard", [4608, resource.RLIM_INFINITY])
def test_a_low_soft_limit_is_nothing_to_refuse(hard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, hard))

    assert files_lacking() == ""


@pytest.mark.parametrize("where", ["file", "file/inside", "/proc/eisbach"])
def test_a_place_that_cannot_be_a_data_folder_is_refused_in_a_sentence(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(os, "umask", lambda _: 0)

    with pytest.raises(Invalid, match=r"cannot be a data folder: .*; name one that can be written"):
        settle(tmp_path / where)


def test_a_command_that_asks_who_holds_a_folder_writes_nothing_into_it(tmp_path: Path) -> None:
    """It may come before the first start, under a umask that is not the platform's."""
    assert read_lock(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
