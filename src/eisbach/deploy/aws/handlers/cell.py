"""A cell's application for functions and tasks: the one of ``bootstrap.cell``, told by a ``CellDocument``.

The store of a cell on AWS is DynamoDB; ``sqlite:FOLDER`` is for rehearsals of the handlers on one machine.
"""

from contextlib import AsyncExitStack
from pathlib import Path

from starlette.types import ASGIApp

from eisbach.deploy.aws.documents import CellDocument
from eisbach.deploy.aws.handlers.secrets import read_secrets
from eisbach.kernel.errors import Invalid
from eisbach.kernel.slots import STUDIO_GROUP
from eisbach.settings import CellProcess, PeerRegion

__all__ = ["open_application", "process_of"]


async def open_application(document: CellDocument, stack: AsyncExitStack) -> ASGIApp:
    """Open the cell; closed by ``stack``.

    Raises:
        Invalid: no such store, or one that this version cannot compose a cell on.
        Unavailable: its key material cannot be read.
    """
    kind, _, folder = document.store.partition(":")
    if kind == "dynamodb":
        raise Invalid(
            f"cell {document.cell!r}: a cell on DynamoDB is not composed in this version; docs/aws.md says what runs"
        )
    if kind != "sqlite" or not folder:
        raise Invalid(f"store {document.store[:60]!r} of cell {document.cell!r} is neither dynamodb nor sqlite:FOLDER")
    from eisbach.bootstrap.cell import open_cell

    secrets = await read_secrets(document.secret, region=document.aws_region)
    cell = await stack.enter_async_context(open_cell(process_of(document, Path(folder)), secrets))
    return cell.app


def process_of(document: CellDocument, folder: Path) -> CellProcess:
    """What ``bootstrap.cell`` is told, with everything on this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    return CellProcess(
        region=document.region,
        cell=document.cell,
        host="127.0.0.1",
        port=0,
        folder=str(folder),
        secrets="",
        groups=dict.fromkeys([*document.groups, str(STUDIO_GROUP)], document.slot_count),
        slots={document.group: list(range(*document.slots))},
        preferred={group: [document.region] * document.slot_count for group in document.groups},
        peers=[PeerRegion(region=r, door=url, edge=url, origin=url) for r, url in document.twins.items()],
        edge=document.address,
        origin=document.address,
        front=document.front,
        hub=f"sqlite:{folder / 'hub.db'}",
        studio=document.studio,
        blobs=str(folder / "blobs") if document.studio else "",
        residencies={document.region: document.residency},
    )
