"""The error tree: every expected failure answers the caller's only question - try again, give up, or call someone?

* EisbachError
  x Retryable        the same call may succeed later; nothing was written
    - Overloaded           a queue or limit is full; carries ``retry_after``
    - Unavailable          a hub, cell, region or disk cannot be reached now
    - OutcomeUnknown       the write may have happened; repeat with the same key to learn the answer
    - SlotFrozen           a move is at its cut; parked at most one second
  x Rejected         understood and refused; the same call is refused again
    - Invalid              the input breaks a rule that the message names
    - NotFound             nothing has that id
    - Denied               not allowed: token, rights window, stream limit ...; carries ``code``
    - VersionConflict      a read precondition no longer holds; read again, decide again
    - SlotMoved            another cell owns the slot; ask ``owner``
    - EpochStale           the caller's epoch is not the slot's; refresh the lease
    - LeaseLost            a job's fence has been overtaken; drop the work
  x Corrupt          stop here and page a person
    - DigestMismatch       bytes are not what their digest says
    - LogGap               an op log is not dense
    - FileDamaged          a file of this process is damaged; it ends and says what to do

Messages say what was asked, what was found and what to do, with the values.
"""

from datetime import timedelta

__all__ = [
    "Corrupt",
    "Denied",
    "DigestMismatch",
    "EisbachError",
    "EpochStale",
    "FileDamaged",
    "Invalid",
    "LeaseLost",
    "LogGap",
    "NotFound",
    "OutcomeUnknown",
    "Overloaded",
    "Rejected",
    "Retryable",
    "SlotFrozen",
    "SlotMoved",
    "Unavailable",
    "VersionConflict",
]


class EisbachError(Exception):
    """Every failure that Eisbach expects; anything else is a bug."""

    code: str = "error"
    """Stable machine word, the ``code`` of problem+json."""


class Retryable(EisbachError):
    """The same call may succeed later; nothing was written."""

    code = "retryable"

    def __init__(self, message: str, *, retry_after: timedelta = timedelta(seconds=1)) -> None:
        """``retry_after``: the least wait before the next try; callers add jitter."""
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(Retryable):
    """A queue or a limit is full: shed, not dead. Never goes to the twin."""

    code = "overloaded"


class Unavailable(Retryable):
    """Something this call needs cannot be reached now."""

    code = "unavailable"


class OutcomeUnknown(Retryable):
    """The write may have happened; repeat with the same key to learn the real answer."""

    code = "outcome_unknown"


class SlotFrozen(Retryable):
    """The slot is at the cut of a move; writes wait, reads go on."""

    code = "slot_frozen"


class Rejected(EisbachError):
    """Understood and refused; the same call is refused again."""

    code = "rejected"


class Invalid(Rejected):
    """The input breaks a rule; the message names the rule and the value."""

    code = "invalid"


class NotFound(Rejected):
    """Nothing has that id."""

    code = "not_found"


class Denied(Rejected):
    """Not allowed; ``code`` says why (``token_expired``, ``rights_window``, ``concurrency`` ...)."""

    def __init__(self, message: str, *, code: str) -> None:
        """``code``: one of the words documented with the call."""
        super().__init__(message)
        self.code = code


class VersionConflict(Rejected):
    """A read precondition no longer holds; read again and decide again."""

    code = "version_conflict"


class SlotMoved(Rejected):
    """Another cell owns the slot; follow ``owner`` once, then refresh the map."""

    code = "slot_moved"

    def __init__(self, slot: str, *, asked: str, owner: str | None, epoch: int) -> None:
        """``owner`` is None when this cell knows only that it is not the owner."""
        found = f"cell {owner!r}" if owner else "another cell"
        super().__init__(
            f"slot {slot} is owned by {found}, not {asked!r} (epoch {epoch}); refresh the slot map and ask the owner"
        )
        self.slot, self.asked, self.owner, self.epoch = slot, asked, owner, epoch


class EpochStale(Rejected):
    """The caller acts under an epoch that the slot has left."""

    code = "epoch_stale"


class LeaseLost(Rejected):
    """A job's fencing token has been overtaken; drop the work, another worker has it."""

    code = "lease_lost"


class Corrupt(EisbachError):
    """Stop here and page a person: going on would spread the damage."""

    code = "corrupt"


class DigestMismatch(Corrupt):
    """Bytes are not what their digest says."""

    code = "digest_mismatch"


class LogGap(Corrupt):
    """An op log is not dense where it must be."""

    code = "log_gap"


class FileDamaged(Corrupt):
    """A file that this process lives on is damaged: no try helps, so the process ends with this sentence."""

    code = "file_damaged"
