"""Erasing an account: the one way, for viewers and operators alike. May not know: HTTP, backups."""

import msgspec

from eisbach.cell.writing import Writer, Written
from eisbach.domain.accounts import AccountDeleted
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.errors import Denied
from eisbach.kernel.events import EventDraft
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import Slot
from eisbach.ports.store import Transaction, Write

__all__ = ["erase_account"]


async def erase_account(writer: Writer, slot: Slot, account: str) -> Written | None:
    """Set the mark, durable when it returns; None when the account was erased before."""
    data = msgspec.json.encode(AccountDeleted(account=account))
    event = EventDraft(type=AccountDeleted.event_type, subject=account, data=data, market=slot.group.market)
    transaction = Transaction(slot=slot, writes=[Write(ItemChange(account, ERASED, b"{}"), event)])
    try:
        return await writer.transact(transaction, durability="peer")
    except Denied as error:
        if error.code != "account_erased":
            raise
        return None
