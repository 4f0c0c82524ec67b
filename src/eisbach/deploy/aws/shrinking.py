"""Installed wheels made smaller: what no function reads goes, and what is only for debuggers in compiled libraries.

Promises: code is never changed. A library is cut behind the last byte that the loader maps (ELF's program headers say
which); the table of sections, which only linkers and debuggers read, lies behind it and is taken out of the header.
"""

import shutil
import struct
from pathlib import Path
from typing import Final

__all__ = ["shrink"]

_SERVICES: Final = frozenset({"dynamodb", "sns", "sqs", "s3", "secretsmanager", "sts"})
"""Service models of botocore that are kept; all of them are 27 MB."""
_JUNK: Final = ("__pycache__", "bin", "pycparser", "wrapt-stubs", "tests", "cffi", "zoneinfo")
"""Folders: of builds and tests, and dateutil's copy of the time zones, which nothing here asks for."""
_NEEDLESS: Final = (
    "_websocket/*.so", "_testcapi.*.so", "_helpers_c.*.so", "_frozenlist.*.so", "examples-1.json*", "aiohttp/web*.py",
    "aiohttp/worker.py", "aiohttp/test_utils.py", "pytest_plugin.py", "starlette/testclient.py", "emscripten/*.py",
    "_backends/_trio.py",
)  # fmt: skip
"""Files: aiohttp's WebSockets and server, which no function uses, helps for tests, other event loops and platforms; and
two small helpers have the same in Python."""
_ELF_64_LITTLE: Final = b"\x7fELF\x02\x01"
_HEADER: Final = 64


def shrink(folder: Path) -> None:
    """In place."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and path.name in _JUNK:
            shutil.rmtree(path)
        elif path.parent.suffix == ".dist-info" and path.name != "METADATA":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif path.suffix in (".pyi", ".pyx", ".pxd", ".c", ".h") or any(path.match(p) for p in _NEEDLESS):
            path.unlink()
        elif path.suffix == ".so":
            library = _loaded(path.read_bytes())
            path.unlink()  # never written in place: installers link files to their cache, and others have them mapped
            path.write_bytes(library)
    (folder / ".lock").unlink(missing_ok=True)  # uv's own, of the installation
    for path in sorted((folder / "botocore" / "data").iterdir()):
        if path.is_dir() and path.name not in _SERVICES:
            shutil.rmtree(path)


def _loaded(library: bytes) -> bytes:
    """What the loader reads of it (elf(5): e_phoff 32, e_shoff 40, e_phentsize 54; p_offset 8, p_filesz 32)."""
    if library[:6] != _ELF_64_LITTLE or len(library) < _HEADER:
        return library
    (table,) = struct.unpack_from("<Q", library, 32)
    size, count = struct.unpack_from("<HH", library, 54)
    end = table + size * count
    for place in range(table, end, size):
        offset, bytes_ = (struct.unpack_from("<Q", library, place + at)[0] for at in (8, 32))
        end = max(end, offset + bytes_)
    if end >= len(library):
        return library
    head = bytearray(library[:_HEADER])
    struct.pack_into("<Q", head, 40, 0)  # e_shoff
    struct.pack_into("<HH", head, 60, 0, 0)  # e_shnum, e_shstrndx
    return bytes(head) + library[_HEADER:end]
