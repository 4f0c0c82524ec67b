"""The functions' archive: small, the same bytes each time, whole, and for the machine it is meant for."""

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eisbach.deploy.aws import package as module
from eisbach.deploy.aws.cold_start import HANDLERS, loaded, measure
from eisbach.deploy.aws.compiling import find_interpreter, version_of
from eisbach.deploy.aws.package import PYTHON, Packed, build_package, sources
from eisbach.kernel.errors import Invalid, Unavailable

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.aws, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return build_package(tmp_path_factory.mktemp("arm") / "lambda.zip")


def test_it_is_for_arm64_and_at_most_ten_megabytes(arm: Packed) -> None:
    with zipfile.ZipFile(arm.path) as archive:
        compiled = [name for name in archive.namelist() if name.endswith(".so")]
        machines = {archive.read(name)[18:20] for name in compiled}

    assert arm.zipped <= 10_000_000
    assert machines == {b"\xb7\x00"}, "ELF e_machine 183 is AArch64"
    assert {m[1] for name in compiled if (m := re.search(r"cpython-(\d+)", name))} == {PYTHON.replace(".", "")}


def test_equal_inputs_give_equal_bytes(arm: Packed, tmp_path: Path) -> None:
    again = build_package(tmp_path / "again.zip")

    first, second = (dict(members(p.path)) for p in (arm, again))
    assert {n for n in first.keys() | second.keys() if first.get(n) != second.get(n)} == set(), "members that differ"
    assert arm.path.read_bytes() == again.path.read_bytes(), "equal members, another order or other headers"


def members(path: Path) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            yield name, hashlib.sha256(archive.read(name)).hexdigest()


def test_only_what_functions_import_is_at_the_top(arm: Packed) -> None:
    """No lock, no cache, no hidden file of the installer."""
    with zipfile.ZipFile(arm.path) as archive:
        assert [name for name in archive.namelist() if any(part.startswith(".") for part in name.split("/"))] == []


def test_it_has_the_sources_that_handlers_import_and_no_page_or_test(arm: Packed) -> None:
    with zipfile.ZipFile(arm.path) as archive:
        names = set(archive.namelist())

    assert {"eisbach/deploy/aws/handlers/spoke.py", "eisbach/hub/runner.py", "eisbach/bootstrap/cell.py"} <= names
    assert [n for n in names if "/stacks/" in n or "/testing/" in n or n.startswith("eisbach/web/static")] == []


def test_every_handler_is_imported_from_the_package_alone(here_package: Path) -> None:
    assert {one.handler for one in measure(here_package, runs=1)} == set(HANDLERS)


def test_a_cold_start_compiles_nothing(here_package: Path) -> None:
    """Else loaded.txt is old: python -m eisbach.deploy.aws.cold_start writes it anew."""
    assert [name for name, compiled in loaded(here_package).items() if not compiled] == []


def test_on_lambdas_own_python_a_cold_start_compiles_nothing(tmp_path: Path) -> None:
    """Where there is no such interpreter, the package says that it is not compiled."""
    interpreter = find_interpreter(PYTHON)
    packed = build_package(tmp_path / "x.zip", target="lambda-x86-64")
    if interpreter is None:
        assert (packed.compiled, packed.compiled_by) == (0, "")
        return

    assert packed.compiled_by.startswith(f"{PYTHON}.")
    found = loaded(packed.path, interpreter=interpreter)
    assert len(found) > 500
    assert [name for name, compiled in found.items() if not compiled] == []


def test_compiled_files_are_read_by_lambdas_python_and_never_compared_with_a_source(arm: Packed) -> None:
    interpreter = find_interpreter(PYTHON)
    with zipfile.ZipFile(arm.path) as archive:
        heads = {archive.read(name)[:8] for name in archive.namelist() if name.endswith(".pyc")}
    if interpreter is None:
        assert heads == set()
        return
    asked = "import importlib.util as i, sys; sys.stdout.buffer.write(i.MAGIC_NUMBER)"
    magic = subprocess.run([str(interpreter), "-I", "-c", asked], capture_output=True, check=True).stdout

    assert heads == {magic + bytes([1, 0, 0, 0])}, "PEP 552: hash-based, unchecked"


def test_an_interpreter_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=rf"functions run on {re.escape(PYTHON)}, and read its compiled files only"):
        build_package(tmp_path / "x.zip", interpreter=Path(sys.executable))
    assert version_of(tmp_path / "nowhere") == ("", "")


def test_without_an_interpreter_of_its_version_it_is_made_of_sources_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_interpreter", lambda _python: None)
    packed = build_package(tmp_path / "x.zip")

    assert (packed.compiled, packed.compiled_by) == (0, "")
    with zipfile.ZipFile(packed.path) as archive:
        assert "aiohttp/client.py" in archive.namelist()
        assert [name for name in archive.namelist() if name.endswith(".pyc")] == []


def test_what_a_handler_lacks_is_named(tmp_path: Path) -> None:
    path = tmp_path / "poor.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sources():
            archive.write(file, f"eisbach/{file.relative_to(ROOT / 'src' / 'eisbach')}")

    with pytest.raises(Invalid, match=r"handler spoke cannot be imported .*No module named"):
        measure(path, runs=1, handlers=["spoke"])


def test_the_locked_versions_are_those_of_the_project() -> None:
    """What a function carries is what the tests ran with."""
    lock = {p["name"]: p["version"] for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    pinned = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "src/eisbach/deploy/aws/requirements.txt").read_text(), re.MULTILINE)
    )

    assert {name: lock.get(name) for name in pinned} == pinned


def test_an_archive_that_is_too_large_is_refused_with_its_largest_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ZIPPED_MAX", 1_000_000)

    with pytest.raises(Invalid, match=r"zipped \(at most 1\).*largest: cryptography"):
        build_package(tmp_path / "large.zip")
    assert not (tmp_path / "large.zip").exists()


def test_wheels_that_cannot_be_had_are_told_in_the_installers_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "requirements.txt"
    wrong.write_text("msgspec==0.22.0 --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setattr(module, "_REQUIREMENTS", wrong)

    with pytest.raises(Unavailable, match="could not install the wheels"):
        build_package(tmp_path / "x.zip")
