"""Calls to a cell in a container: the same application under uvicorn, until SIGTERM. ``python -m`` this module.

``ADDRESS`` (``host:port``) and ``FOLDER`` say otherwise where it does not run as a task.
"""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from eisbach.bootstrap.serve import serve
from eisbach.deploy.aws.documents import CellDocument, read_document
from eisbach.deploy.aws.handlers.cell import open_application
from eisbach.kernel.errors import Invalid

__all__ = ["main"]

_ADDRESS: Final = "0.0.0.0:8080"  # a task's own network, where the balancer alone reaches it
_FOLDER: Final = "/work"
"""A volume of the task: its root file system is read-only."""


async def main(environment: Mapping[str, str] = os.environ) -> None:
    """Serve until SIGTERM, then finish requests and close the store."""
    document = read_document(environment)
    if not isinstance(document, CellDocument):
        raise Invalid("this task serves a cell, and its document is a spoke's; the stacks set both")
    host, _, port = environment.get("ADDRESS", _ADDRESS).rpartition(":")
    folder = Path(environment.get("FOLDER", _FOLDER)) / document.cell
    async with AsyncExitStack() as stack:
        cell = await open_application(document, stack, folder=folder)
        serving = asyncio.create_task(serve(cell.app, host=host, port=int(port)))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
        await asyncio.wait({serving})


if __name__ == "__main__":
    asyncio.run(main())
