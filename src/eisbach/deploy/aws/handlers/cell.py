"""A cell's application for tasks and functions: the one of ``bootstrap.cell``, told by a ``CellDocument``.

On AWS its store is DynamoDB and its hub SNS and SQS. A task follows the hub and relays; a function only answers: it
reads the catalogue that tasks keep in the cell's table, and what it writes is relayed by the task, or by the relay's
function.
``sqlite:FOLDER`` is for rehearsals of the handlers.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from eisbach.bootstrap.cell import OpenCell, open_cell
from eisbach.bootstrap.host import system_host
from eisbach.cell.peer_http import HttpPeer
from eisbach.deploy.aws.documents import CellDocument
from eisbach.deploy.aws.handlers.secrets import read_secrets
from eisbach.kernel.errors import Invalid
from eisbach.kernel.slots import STUDIO_GROUP
from eisbach.settings import CellProcess, PeerRegion

__all__ = ["StandingPeer", "open_application", "process_of"]


class StandingPeer(HttpPeer):
    """Another region where nothing moves: a slot's cell has the same name there, and there is no map to ask for."""

    def __init__(self, door: str, *, token: str, groups: Mapping[str, Sequence[str]]) -> None:
        super().__init__(door, token=token)
        self._groups = groups

    async def owners(self) -> Mapping[str, Sequence[str]]:
        """See ``PeerTransport``."""
        return self._groups


async def open_application(
    document: CellDocument, stack: AsyncExitStack, *, folder: Path, function: bool = False
) -> OpenCell:
    """Open the cell; closed by ``stack``.

    Args:
        document: which cell.
        stack: closes it.
        folder: a disk that lasts as long as this process.
        function: it is frozen between calls.

    Raises:
        Invalid: no such store, or a cell that cannot be opened here.
        Unavailable: its key material or its tables cannot be read.
    """
    kind, _, rehearsed = document.store.partition(":")
    if kind not in ("dynamodb", "sqlite") or (kind == "sqlite" and not rehearsed):
        raise Invalid(f"store {document.store[:60]!r} of cell {document.cell!r} is neither dynamodb nor sqlite:FOLDER")
    if kind == "dynamodb" and document.studio and not document.blobs:
        raise Invalid(f"the studio cell {document.cell!r} needs a blob store; its document names none")
    secrets = await read_secrets(document.secret, region=document.aws_region)
    groups = {document.group: [document.cell] * document.slot_count}
    host = dataclasses.replace(
        system_host(),
        asleep_between_calls=function,
        peer=lambda door, token: StandingPeer(door, token=token, groups=groups),
    )
    process = process_of(document, Path(rehearsed) if rehearsed else folder)
    return await stack.enter_async_context(open_cell(process, secrets, host=host))


def process_of(document: CellDocument, folder: Path) -> CellProcess:
    """What ``bootstrap.cell`` is told.

    Raises:
        Invalid: the tables have other names than the engine gives them, or a region's media have no address.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place, on_aws = f"{document.aws_region}/{document.prefix}", document.store == "dynamodb"
    names = (f"{document.prefix}-{document.cell}-log", f"{document.prefix}-{document.cell}-state")
    if lacking := [r for r in (document.region, *document.twins) if r not in document.media]:
        raise Invalid(f"the document of cell {document.cell!r} says no address of the media of {lacking[0]!r}")
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
        peers=[PeerRegion(region=r, door=url, edge=url, origin=document.media[r]) for r, url in document.twins.items()],
        edge=document.address,
        origin=document.media[document.region],
        front=document.front,
        hub=f"aws:{place}" if on_aws else f"sqlite:{folder / 'hub.db'}",
        store=f"dynamodb:{place}" if on_aws else "",
        studio=document.studio,
        backups=document.backups,
        archived_elsewhere=True,
        signs_passes=True,
        blobs=(document.blobs if on_aws else str(folder / "blobs")) if document.studio else "",
        # Twins are of the same residency, or they would be none (platform_file): who is not listed is sent nothing.
        residencies=dict.fromkeys([document.region, *document.twins], document.residency),
    )
