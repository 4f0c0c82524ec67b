"""``eisbach run onecell``: stage ``hub`` - one cell with every slot, hosting the studio as a second store.

Its hub, spokes and worker are processes of their own. With no edge and no front before it, the cell answers for API,
media and pages on one port: so its death is everything, and a spoke's is nothing.
"""

from pathlib import Path

from eisbach.bootstrap.cell import confine_cell, open_cell, serve_cell
from eisbach.bootstrap.pages import with_pages
from eisbach.engines.embedded.confinement import die_with_parent
from eisbach.settings import CellProcess, Secrets, read_process

__all__ = ["run"]


async def run(process: CellProcess) -> None:
    """Serve until cancelled."""
    die_with_parent()
    secrets = read_process(Path(process.secrets), Secrets)
    confinement = confine_cell(process)
    async with open_cell(process, secrets, confinement=confinement, wrap=with_pages) as cell:
        await serve_cell(process, cell)
