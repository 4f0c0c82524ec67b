"""Sign-in: from a device to an account, a slot and tokens.

An account is derived from its device, so both regions make the same one and a repeat has one effect. When the disk
refuses, the viewer is let in all the same: the account item is written at a later sign-in.
May not know: how tokens are signed, what is played.
"""

from collections.abc import Sequence

import msgspec
import structlog

from eisbach.cell.identity import Tokens
from eisbach.cell.ownership import Ownership
from eisbach.cell.places import Places
from eisbach.cell.problems import Unauthorized
from eisbach.cell.routes import Answer, Call, Route, json_answer
from eisbach.cell.surface import Granted, RefreshToken, SignIn
from eisbach.cell.writing import Writer, Written
from eisbach.domain.accounts import (
    DEFAULT_PROFILE,
    Account,
    AccountCreated,
    Identity,
    account_of,
    age_band,
    group_for,
    new_account,
    profile_of,
)
from eisbach.kernel.erasure import ERASED
from eisbach.kernel.errors import Retryable, SlotMoved, VersionConflict
from eisbach.kernel.events import EventDraft
from eisbach.kernel.ops import ItemChange
from eisbach.kernel.slots import STUDIO_GROUP, Group, Slot, slot_of
from eisbach.ports.clock import Clock
from eisbach.ports.store import ItemKey, Store, Transaction, Write

__all__ = ["AuthCalls"]

_logger = structlog.get_logger(__name__)


class AuthCalls:
    """One a process."""

    def __init__(
        self,
        store: Store,
        writer: Writer,
        *,
        ownership: Ownership,
        tokens: Tokens,
        places: Places,
        clock: Clock,
    ) -> None:
        self._store, self._writer, self._ownership = store, writer, ownership
        self._tokens, self._places, self._clock = tokens, places, clock
        self.unwritten = 0
        """Sign-ins let in without their account item: the disk refused."""

    def routes(self) -> Sequence[Route]:
        """This feature's part of the table."""
        return [
            Route(
                method="POST", path="/v1/auth/token", handler=self.refresh, importance="critical", caller="anyone",
                body=RefreshToken, answer=Granted, summary="A new access token",
                codes=("token_expired", "account_erased"),
            ),
            Route(
                method="POST", path="/v1/auth/anonymous", handler=self.anonymous, importance="critical",
                caller="anyone", body=SignIn, answer=Granted, summary="Sign in with a device",
                codes=("market", "account_erased"),
            ),
        ]  # fmt: skip

    async def anonymous(self, call: Call) -> Answer:
        """The account of a device; created when it is new. At the wrong cell: 421 with the owner."""
        body: SignIn = call.body
        groups = self._ownership.groups()
        market = body.mkt or next((g.market for g in map(Group.parse, groups) if g != STUDIO_GROUP), "de")
        group = group_for(market, groups)
        account_id = account_of(body.device_id, group)
        slot = slot_of(account_id, group, self._ownership.count(group))
        self._serve(slot)
        account, written, degraded = await self._account(slot, account_id)
        profile = profile_of(account, DEFAULT_PROFILE)
        identity = Identity(
            account=account_id,
            device=body.device_id,
            profile=profile.id,
            market=group.market,
            tier=account.tier,
            platform=body.plat,
            age_max=profile.age_max,
            entitlement=account.entitlement,
            slot=str(slot),
        )
        return self._granted(identity, slot, written=written, degraded=degraded)

    async def refresh(self, call: Call) -> Answer:
        """The same viewer, with what the account says now."""
        body: RefreshToken = call.body
        identity = self._tokens.verify(body.refresh, use="refresh")
        slot = self._ownership.slot(identity.slot)
        self._serve(slot)
        degraded: list[str] = []
        try:
            found = await self._store.read(slot, ItemKey(identity.account, "account"))
        except Retryable:
            found, degraded = None, ["account"]
        if found is None and not degraded and await self._is_erased(slot, identity.account):
            raise Unauthorized("the account is erased for good; sign in with a new device id", code="account_erased")
        if found is not None:
            account = msgspec.json.decode(found.value, type=Account)
            age_max = profile_of(account, identity.profile).age_max
            identity = msgspec.structs.replace(
                identity, tier=account.tier, entitlement=account.entitlement, age_max=age_max
            )
        return self._granted(identity, slot, written=None, degraded=degraded)

    async def _is_erased(self, slot: Slot, account: str) -> bool:
        try:
            return await self._store.read(slot, ItemKey(account, ERASED)) is not None
        except Retryable:
            return False  # as above: an outage of the disk ends nobody's session

    def _serve(self, slot: Slot) -> None:
        """Raise SlotMoved with the best address known: a cell of this region, else a region that serves the group."""
        try:
            self._ownership.check(slot)
        except SlotMoved as error:
            if error.owner is None and (elsewhere := self._places.that_serve(slot.group)):
                raise SlotMoved(error.slot, asked=error.asked, owner=elsewhere[0], epoch=error.epoch) from error
            raise

    async def _account(self, slot: Slot, account_id: str) -> tuple[Account, Written | None, list[str]]:
        fresh = new_account(account_id, slot.group, at_ms=self._clock.wall_ms())
        key = ItemKey(account_id, "account")
        try:
            for _ in range(2):
                found = await self._store.read(slot, key)
                if found is not None:
                    return msgspec.json.decode(found.value, type=Account), None, []
                try:
                    return fresh, await self._create(slot, key, fresh), []
                except VersionConflict:
                    continue  # created at this very moment by another sign-in of the same device
        except Retryable as error:
            self.unwritten += 1
            _logger.warning("sign_in_unwritten", slot=str(slot), error=str(error))
        return fresh, None, ["account"]

    async def _create(self, slot: Slot, key: ItemKey, account: Account) -> Written:
        created = AccountCreated(account=account.id, kind="anonymous", market=account.market)
        event = EventDraft(
            type="tv.account.created.v1", subject=account.id, data=msgspec.json.encode(created), market=account.market
        )
        write = Write(ItemChange(key.pk, key.sk, msgspec.json.encode(account)), event)
        transaction = Transaction(slot=slot, reads={key: None}, writes=[write])
        return await self._writer.transact(transaction, durability="peer")

    def _granted(self, identity: Identity, slot: Slot, *, written: Written | None, degraded: list[str]) -> Answer:
        minted = self._tokens.mint(identity)
        granted = Granted(
            access=minted.access,
            refresh=minted.refresh,
            expires_in=minted.expires_in,
            slot=str(slot),
            account=identity.account,
            profile=identity.profile,
            market=identity.market,
            tier=identity.tier,
            age=age_band(identity.age_max),
            endpoints=self._places.for_slot(slot),
            degraded=degraded,
        )
        headers = [("Cache-Control", "no-store")]
        if written is None:
            return json_answer(granted, headers=headers)
        answer = json_answer(granted, headers=[*headers, ("Eisbach-Durability", written.durability)])
        return Answer(answer.status, answer.body, answer.headers, position={self._store.region: written.receipt.mark})
