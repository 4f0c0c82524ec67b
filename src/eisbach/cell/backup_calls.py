"""What operators do with backups of a running cell: archive now, an account back to a second, an account erased.

A restore is an edit: it writes new ops with new versions, so the twins converge on it and nothing newer elsewhere is
overwritten unseen (it would be the loser in the conflict log). Running streams are not brought back. May not know:
engines, schedules.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from eisbach.cell.archive_reader import ArchiveReader, PastItem
from eisbach.cell.archived_elsewhere import Archive
from eisbach.cell.archiver import Archiver
from eisbach.cell.erasing import erase_account
from eisbach.cell.ownership import Ownership
from eisbach.cell.routes import Answer, Call, Route, json_answer
from eisbach.cell.streams import GUARD
from eisbach.cell.writing import Writer
from eisbach.domain.accounts import Account
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.errors import Denied, Invalid, NotFound
from eisbach.kernel.ids import parse_id
from eisbach.kernel.limits import WRITES_PER_TRANSACTION_MAX
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import STUDIO_GROUP, Group, Slot, slot_of
from eisbach.ports.store import Item, ItemKey, Store, Transaction, Write

__all__ = ["BackupCalls", "EraseAccount", "RestoreAccount", "RestoreSlots"]

_PAGE: Final = 1000
_ITEMS_MAX: Final = 100_000


class RestoreAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /ops/accounts/{account}/restore``."""

    at_ms: int
    dry_run: bool = True


class RestoreSlots(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /ops/restore``: one slot a call, so that each is short and a stop loses nothing."""

    at_ms: int
    dry_run: bool = True
    after: str = ""
    """The slot that was restored last; empty: begin with the first."""


class SlotChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What was, or would be, changed in one slot."""

    slot: str
    """Empty: there was none left."""
    accounts: int
    """That backups knew at that second."""
    changed: int
    """Accounts that are other now."""
    set: int
    deleted: int
    more: bool
    """Whether other slots are left."""
    dry_run: bool


class EraseAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /ops/accounts/{account}/erase``."""

    dry_run: bool = True


class AccountChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What was, or would be, changed."""

    account: str
    slot: str
    set: list[str]
    """Sort keys of items that get a value."""
    deleted: list[str]
    dry_run: bool


class AccountElsewhere(NotFound):
    """This cell has nothing of the account; another one may."""

    code = "account_elsewhere"


class BackupCalls:
    """One a store of viewers."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        ownership: Ownership,
        *,
        archive: Archive | None,
        reader: ArchiveReader | None,
    ) -> None:
        """``archive`` and ``reader``: None where no backups are made."""
        self._store, self._writer, self._ownership = store, writer, ownership
        self._archive, self._reader = archive, reader

    def routes(self) -> Sequence[Route]:
        """For operators only."""

        def post(path: str, handler: object, summary: str, body: type[msgspec.Struct] | None = None) -> Route:
            return Route(
                method="POST", path=path, handler=handler, importance="degraded",  # type: ignore[arg-type]
                caller="operator", body=body, summary=summary, listed=False,
            )  # fmt: skip

        return [
            post("/ops/backup", self.backup, "Archive now"),
            post("/ops/accounts/{account}/restore", self.restore, "An account as it was", RestoreAccount),
            post("/ops/restore", self.restore_slot, "Every account of the next slot as it was", RestoreSlots),
            post("/ops/accounts/{account}/erase", self.erase, "Erase an account", EraseAccount),
        ]

    async def backup(self, _call: Call) -> Answer:
        """Bring the archive up to this moment."""
        if self._archive is None:
            raise NotFound("this cell makes no backups: its document has no folder, or its secrets no backup_key")
        if not isinstance(self._archive, Archiver):
            raise Invalid("another process archives this cell, once a minute; /status says how far it has come")
        await self._archive.archive()
        return json_answer(msgspec.to_builtins(self._archive.statistics()))

    async def restore(self, call: Call) -> Answer:
        """Make the account's items what they were; the answer lists what changes."""
        if self._archive is None or self._reader is None:
            raise NotFound("this cell makes no backups: its document has no folder, or its secrets no backup_key")
        body: RestoreAccount = call.body
        account, slot = await self._account(call)
        self._reader.check_time(body.at_ms)
        await self._archive.cover(body.at_ms)
        past = await self._reader.account(str(slot), account, at_ms=body.at_ms)
        changes = await self._restored(slot, account, past, dry_run=body.dry_run)
        answer = AccountChanges(
            account=account,
            slot=str(slot),
            set=[sk for sk, value in changes if value is not None],
            deleted=[sk for sk, value in changes if value is None],
            dry_run=body.dry_run,
        )
        return json_answer(answer)

    async def restore_slot(self, call: Call) -> Answer:
        """The next of this cell's slots: each account that backups knew at that second as it was then.

        An account that came later is left as it is; one that was erased since stays erased.
        """
        if self._archive is None or self._reader is None:
            raise NotFound("this cell makes no backups: its document has no folder, or its secrets no backup_key")
        body: RestoreSlots = call.body
        self._reader.check_time(body.at_ms)
        slots = sorted(str(slot) for slot in self._ownership.owned() if slot.group != STUDIO_GROUP)
        left = [slot for slot in slots if slot > body.after]
        changed = 0
        past: dict[str, list[PastItem]] = {}
        changes: list[tuple[str, bytes | None]] = []
        if left:
            await self._archive.cover(body.at_ms)
            past = await self._reader.accounts(left[0], at_ms=body.at_ms)
            slot = self._ownership.slot(left[0])
            for account, items in past.items():
                try:
                    found = await self._restored(slot, account, items, dry_run=body.dry_run)
                except Denied:
                    continue  # erased a moment ago: its key was still in the book
                changed += bool(found)
                changes += found
        answer = SlotChanges(
            slot=left[0] if left else "",
            accounts=len(past),
            changed=changed,
            set=sum(value is not None for _, value in changes),
            deleted=sum(value is None for _, value in changes),
            more=len(left) > 1,
            dry_run=body.dry_run,
        )
        return json_answer(answer)

    async def _restored(
        self, slot: Slot, account: str, past: Sequence[PastItem], *, dry_run: bool
    ) -> list[tuple[str, bytes | None]]:
        """What the account must get to be what it was, written unless ``dry_run``.

        Raises:
            Denied: ``account_erased``.
        """
        now = {item.key.sk: item for item in await self._items(slot, account)}
        if ERASED in now:
            raise Denied(f"account {account} is erased for good", code="account_erased")
        wanted = {item.sk: item.value for item in past if item.sk not in (GUARD, ERASED)}
        if (was := wanted.get("account")) is not None and "account" in now:
            wanted["account"] = _with_newer_rights(was, now["account"].value)
        wanted |= {sk: None for sk in now if sk not in wanted and sk != GUARD}
        changes = [(sk, v) for sk, v in sorted(wanted.items()) if v != (now[sk].value if sk in now else None)]
        if not dry_run:
            await self._write(slot, account, changes, now)
        return changes

    async def erase(self, call: Call) -> Answer:
        """Erase an account as its viewer would by ``DELETE /v1/me``."""
        body: EraseAccount = call.body
        account, slot = await self._account(call)
        items = await self._items(slot, account)
        if not items:
            raise AccountElsewhere(f"slot {slot} has nothing of account {account}")
        if not body.dry_run:
            await erase_account(self._writer, slot, account)
            if isinstance(self._archive, Archiver):  # another process meets the mark in the log by itself
                await self._archive.archive()
        gone = [item.key.sk for item in items if item.key.sk != ERASED]
        return json_answer(AccountChanges(account=account, slot=str(slot), set=[], deleted=gone, dry_run=body.dry_run))

    async def _account(self, call: Call) -> tuple[str, Slot]:
        """The account of the path, and its slot among this cell's; ``?group=`` says which when its items do not.

        Raises:
            AccountElsewhere: no slot here can be the account's; ask another cell.
        """
        account = parse_id(call.params["account"], what="account")
        owned, known = set(self._ownership.owned()), self._ownership.groups()
        named = call.query.get("group")
        groups = [Group.parse(text) for text in known if named in (None, text)]
        slots = [slot_of(account, g, self._ownership.count(g)) for g in groups if g != STUDIO_GROUP]
        here = [slot for slot in slots if slot in owned]
        if len(here) > 1:  # one process may serve several markets
            here = [slot for slot in here if await self._store.query(slot, account, limit=1)]
        if len(here) != 1:
            raise AccountElsewhere(
                f"account {account} is in no slot of this cell; ask the cell that owns it, or name ?group="
            )
        return account, here[0]

    async def _items(self, slot: Slot, account: str) -> list[Item]:
        found: list[Item] = []
        while len(found) < _ITEMS_MAX:
            after = found[-1].key.sk if found else None
            page = await self._store.query(slot, account, after=after, limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                break
        return found

    async def _write(
        self, slot: Slot, account: str, changes: Sequence[tuple[str, bytes | None]], now: dict[str, Item]
    ) -> None:
        """In pieces, each only while the items are as they were seen; a repeat goes on where one stopped."""
        for first in range(0, len(changes), WRITES_PER_TRANSACTION_MAX):
            piece = changes[first : first + WRITES_PER_TRANSACTION_MAX]
            await self._writer.transact(
                Transaction(
                    slot=slot,
                    reads={ItemKey(account, sk): now[sk].version if sk in now else None for sk, _ in piece},
                    writes=[Write(ItemChange(account, sk, value)) for sk, value in piece],
                )
            )


def _with_newer_rights(was: bytes, now: bytes) -> bytes:
    """The account as it was, with what its plan's source has said since: a restore gives nobody a plan they ended."""
    old, new = msgspec.json.decode(was, type=Account), msgspec.json.decode(now, type=Account)
    if new.entitlement <= old.entitlement:
        return was
    return msgspec.json.encode(msgspec.structs.replace(old, tier=new.tier, entitlement=new.entitlement))
