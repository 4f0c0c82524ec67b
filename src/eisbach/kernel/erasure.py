"""Erasure: a mark on an account that every store obeys, whatever it hears before or after.

The mark is an ordinary item, ``(account, "erased")``, set by an ordinary op: so it travels to the twin, into a move and
into the archive like any other. What it means is the store's: every other item, answer, lost conflict and op body of
the account goes, and none comes back. The mark wins against every other write of the account, of whatever version: that
makes erasure the same in any order of arrival (a "remove wins" set), and it makes it final; the price is that a device
that signs in again needs a new device id (docs/decisions).
"""

from typing import Final

import msgspec

from eisbach.kernel.ops import ItemChange, Op

__all__ = ["ERASED", "erases", "scrubbed"]

ERASED: Final = "erased"
"""Sort key of the mark; setting it erases the account that is its partition key."""


def erases(change: ItemChange) -> bool:
    """Whether the change is the mark itself."""
    return change.sk == ERASED


def scrubbed(op: Op) -> Op:
    """The op without what it wrote: its number stays, so that the log stays dense; its event stays, because a spoke
    waits for the event that the next one names as ``prev``, and because events carry no personal data.
    """
    return msgspec.structs.replace(op, change=None)
