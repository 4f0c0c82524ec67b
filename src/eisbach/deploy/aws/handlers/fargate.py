"""Calls to a cell in a container: the same application under uvicorn, until SIGTERM. ``python -m`` this module."""

import asyncio
import signal
from contextlib import AsyncExitStack
from typing import Final

from eisbach.bootstrap.serve import serve
from eisbach.deploy.aws.documents import CellDocument, read_document
from eisbach.deploy.aws.handlers.cell import open_application
from eisbach.kernel.errors import Invalid

__all__ = ["main"]

_PORT: Final = 8080


async def main(*, host: str = "0.0.0.0", port: int = _PORT) -> None:  # noqa: S104 - a task's own network: the balancer alone reaches it
    """Serve until SIGTERM, then finish requests and close the store."""
    document = read_document()
    if not isinstance(document, CellDocument):
        raise Invalid("this task serves a cell, and its document is a spoke's; the stacks set both")
    async with AsyncExitStack() as stack:
        app = await open_application(document, stack)
        serving = asyncio.create_task(serve(app, host=host, port=port))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
        await asyncio.wait({serving})


if __name__ == "__main__":
    asyncio.run(main())
