"""``eisbach run demo``: make the demo content in a process of its own, politely, and write down what was made.

Promises: what is there already is not made again; ``content.json`` appears whole, when everything it names is on disk.
"""

import os
from pathlib import Path

import msgspec

from eisbach.kernel.errors import Unavailable
from eisbach.media.demo import make_demo
from eisbach.media.jobs import Workspace
from eisbach.media.tools import MediaTools
from eisbach.settings import DemoProcess

__all__ = ["run"]

_NICE = 5  # a viewer's request goes before the next scene


async def run(process: DemoProcess) -> None:
    """Make it, then return.

    Raises:
        ToolFailed, Unavailable: start it again, it goes on where it was.
    """
    os.nice(_NICE)
    folder = Path(process.folder)
    tools = MediaTools(
        ffmpeg=Path(process.ffmpeg),
        ffprobe=Path(process.ffprobe),
        packager=Path(process.packager),
        unsafe_media=process.unsafe_media,
    )

    def progress(done: int, total: int, detail: str) -> None:
        _write(folder / "progress.json", msgspec.json.encode([done, total, detail]))

    footage = Path(process.footage) if process.footage else None
    content = await make_demo(Workspace(Path(process.blobs)), tools, footage, progress)
    _write(folder / "content.json", msgspec.json.encode(content))


def _write(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    try:
        part.write_bytes(content)
        part.rename(path)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error}") from error
