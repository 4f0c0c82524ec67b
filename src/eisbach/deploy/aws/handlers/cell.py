"""A cell's application for functions and tasks: the one of ``bootstrap.cell``, told by a ``CellDocument``.

The store of a cell on AWS is DynamoDB and its hub SNS and SQS; ``sqlite:FOLDER`` is for rehearsals of the handlers on
one machine. The catalogue's projection lies on the sandbox's own disk and is filled anew at every start.
"""

import tempfile
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
        Invalid: no such store, or tables of other names.
        Unavailable: its key material cannot be read.
    """
    kind, _, folder = document.store.partition(":")
    if kind != "dynamodb" and not (kind == "sqlite" and folder):
        raise Invalid(f"store {document.store[:60]!r} of cell {document.cell!r} is neither dynamodb nor sqlite:FOLDER")
    on_aws = kind == "dynamodb"
    if on_aws:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="eisbach-"))
    from eisbach.bootstrap.cell import open_cell

    secrets = await read_secrets(document.secret, region=document.aws_region)
    cell = await stack.enter_async_context(open_cell(process_of(document, Path(folder), on_aws=on_aws), secrets))
    return cell.app


def process_of(document: CellDocument, folder: Path, *, on_aws: bool) -> CellProcess:
    """What ``bootstrap.cell`` is told; not ``on_aws``: with everything on this machine.

    Raises:
        Invalid: the tables have other names than the engine gives them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = f"{document.aws_region}/{document.prefix}"
    names = (f"{document.prefix}-{document.cell}-log", f"{document.prefix}-{document.cell}-state")
    if on_aws and (document.log_table, document.state_table) != names:
        raise Invalid(f"tables {document.log_table} and {document.state_table}: a cell's are {' and '.join(names)}")
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
        hub=f"aws:{place}" if on_aws else f"sqlite:{folder / 'hub.db'}",
        store=f"dynamodb:{place}" if on_aws else "",
        studio=document.studio,
        blobs=str(folder / "blobs") if document.studio else "",
        residencies={document.region: document.residency},
    )
