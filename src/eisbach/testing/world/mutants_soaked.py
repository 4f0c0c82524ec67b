"""Bugs that were in the code until the soak of 27 November 2026 found each by a seed or two of tens of thousands.

The world meets them too seldom to be trusted with them; ``mutants_held`` names the test that holds each.
"""

import msgspec

from eisbach.bootstrap import restore_cell
from eisbach.cell.puller import Puller
from eisbach.control.moves import Mover
from eisbach.engines.embedded import writer
from eisbach.engines.embedded.eraser import Eraser
from eisbach.engines.embedded.slot_rows import SlotRows
from eisbach.hub.inbox import Inbox
from eisbach.hub.relay import Relay
from eisbach.kernel.events import Event
from eisbach.ports.spoke_store import InboxMark
from eisbach.testing.world.planting import Patch, mutant, rewritten

__all__: list[str] = []


@mutant("a write that arrives under several own ones counts as known to the last of them (seed 290265)")
def loser_known_by_its_base(patch: Patch) -> None:
    patch(SlotRows, "serving", lambda _self, _region: "")


@mutant("a cell that does not own a slot applies what it held back of it (seed 325715)")
def held_applied_by_anybody(patch: Patch) -> None:
    patch(writer, "RELEASING", frozenset({"active", "away", "frozen", "gone"}))


@mutant("a move believes what the source's relay remembers of the hub (seed 315105)")
def hub_remembered(patch: Patch) -> None:
    async def has(self: Relay, lsn: int) -> bool:
        return self.last_lsn() >= lsn

    patch(Relay, "has", has)


@mutant("an erasure that was refused waits for a next commit (seed 270306)")
def erasure_waits_for_a_commit(patch: Patch) -> None:
    edit = ("await self._clock.sleep(_REFUSED_S)", "return")
    patch(Eraser, "_run", rewritten(Eraser._run, edit))


@mutant("a spoke that starts again does not know what the first event of an epoch came after (seed 361379)")
def epochs_apart_in_a_restart(patch: Patch) -> None:
    account = Inbox.account

    def forgetful(self: Inbox, event: Event) -> InboxMark:
        return account(self, msgspec.structs.replace(event, after=None))

    patch(Inbox, "account", forgetful)


@mutant("what a region gave before it asked whether it is an older copy is taken when it comes (seed 397370)")
def given_before_the_question(patch: Patch) -> None:
    patch(Puller, "begin_anew", lambda _self, _slots, _origin: {})


@mutant("a relay whose store is closing looks again at once (seed 402274)")
def closed_store_has_news(patch: Patch) -> None:
    edit = ("commit.done() and commit.result() > self._lsn", "commit.done()")
    patch(Relay, "_committed_soon", rewritten(Relay._committed_soon, edit))


@mutant("a restore takes from its twin what is on disk there, and not what it has just received (seed 401245)")
def restore_without_in_hand(patch: Patch) -> None:
    patch(restore_cell, "_from_twin", rewritten(restore_cell._from_twin, (", anew=True)", ")")))


@mutant("a number in the log that has changed is taken for the store's own append (seed 60666)")
def late_append_is_ours(patch: Patch) -> None:
    known = ("not self._acknowledged", "await self._store.is_unpublished_at(last.sequence)")
    patch(Relay, "_resume", rewritten(Relay._resume, known))


@mutant("whom the coordinator told is on record although somebody read the records meanwhile (seed 421709)")
def told_while_asked(patch: Patch) -> None:
    patch(Mover, "records", rewritten(Mover.records, ("self._read_out += 1", "pass")))
