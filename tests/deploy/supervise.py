"""A supervisor in a process of its own, to be killed: ``supervise.py ROOT PORT``. Prints its children's pids when ready."""

import asyncio
import sys
from pathlib import Path

from .conftest import spec, supervisor


async def main() -> None:
    root = Path(sys.argv[1])
    one_spec = spec(root, "cell/r/c1", int(sys.argv[2]), "--child")
    async with supervisor(root, one_spec) as one:
        await one.until_ready()
        process = one.processes["cell/r/c1"]
        grandchild = process.log.read_text().split()[-1]
        print(process.pid, grandchild, one._children._zygote.pid, flush=True)
        await asyncio.sleep(60)


asyncio.run(main())
