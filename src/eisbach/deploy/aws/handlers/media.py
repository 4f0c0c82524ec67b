"""Media work in a container: jobs leased from the studio, files in the region's bucket. ``python -m`` this module.

``ADDRESS`` (``host:port``) and ``FOLDER`` say otherwise where it does not run as a task.
"""

import asyncio
import os
import secrets as entropy
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from eisbach.bootstrap.tools import locate_tools
from eisbach.bootstrap.worker import confine_worker, serve_worker
from eisbach.deploy.aws.documents import MediaDocument, read_document
from eisbach.deploy.aws.handlers.secrets import read_secrets
from eisbach.kernel.errors import Invalid
from eisbach.settings import WorkerProcess, load_settings

__all__ = ["main"]

_ADDRESS: Final = "0.0.0.0:8080"  # status; no door leads to it
_FOLDER: Final = "/work"
_logger = structlog.get_logger(__name__)


async def main(environment: Mapping[str, str] = os.environ) -> None:
    """Work until SIGTERM; a job in work is then dropped, and free when its lease runs out."""
    document = read_document(environment)
    if not isinstance(document, MediaDocument):
        raise Invalid("this task works on media, and its document is another's; the stacks set both")
    host, _, port = environment.get("ADDRESS", _ADDRESS).rpartition(":")
    folder = Path(environment.get("FOLDER", _FOLDER)) / "media"
    folder.mkdir(parents=True, exist_ok=True)
    settings = load_settings(None)
    tools = locate_tools(settings).media
    process = WorkerProcess(
        region=document.region,
        name=f"{document.region}-{entropy.token_hex(4)}",
        host=host,
        port=int(port),
        folder=str(folder),
        secrets="",
        studio=document.studio,
        blobs=document.blobs,
        ffmpeg=str(tools.ffmpeg),
        ffprobe=str(tools.ffprobe),
        packager=str(tools.packager),
        unsafe_media=settings.unsafe_media,
        convert=document.convert,
    )
    secrets = await read_secrets(document.secret, region=document.aws_region)
    confine_worker(process)
    working = asyncio.create_task(serve_worker(process, secrets))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    await asyncio.wait({working})
    if not working.cancelled():
        working.result()


if __name__ == "__main__":
    asyncio.run(main())
