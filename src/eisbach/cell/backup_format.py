"""What lies in a backup: sealed ops in segments and bases, and the books of keys that open them.

An op is sealed (AES-256-GCM, NIST SP 800-38D) under a key of its account, which is named by a random id: without the
book a segment tells slots, numbers and times, and no account. A book is one small blob a slot and cell, wrapped with
the region's backup key; it is the only thing here that is ever changed, and taking an account out of it makes every
copy of what it sealed unreadable. Segments and bases are written once. Names sort by time.

    log/{cell}/{day}/{ms}-{incarnation}-{lsn}   ops in the order of the store's log, archived at ms, up to lsn
    base/{cell}/{ms}/{slot with dots}           per item the latest op archived up to ms
    books/{slot}/{cell}                         account -> (key id, key)

May not know: stores, schedules, HTTP.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Self

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from eisbach.kernel.errors import Corrupt, Invalid
from eisbach.kernel.events import EventDraft
from eisbach.kernel.ops import ItemChange, Op

__all__ = [
    "DAY_MS",
    "Archived",
    "Book",
    "SealedOp",
    "SegmentName",
    "base_key",
    "book_key",
    "days_between",
    "decode_archived",
    "encode_archived",
    "segment_key",
]

DAY_MS: Final = 86_400_000
_NONCE: Final = 12
_NONCES: Final = 64
"""Drawn at once."""
_KEY_BYTES: Final = 32
_KID_BYTES: Final = 16
_NOBODY: Final = ""
"""Owner of what belongs to no account: events alone, marks of erasure. Its key is never destroyed."""


class SealedOp(msgspec.Struct, frozen=True, array_like=True):
    """An op of which only number and time can be read."""

    slot: str
    origin: str
    epoch: int
    seq: int
    hlc: int
    more: bool
    kid: bytes
    """Which key seals the body."""
    body: bytes
    """Nonce and AES-GCM of (change, event); bound to the op's id and time."""


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """A segment, or the base of one slot."""

    region: str
    cell: str
    ms: int
    """When it was archived."""
    last_lsn: int
    ops: list[SealedOp]
    format: int = 1


class SegmentName(NamedTuple):
    """What the name of a segment says."""

    ms: int
    incarnation: int
    """Rises when a cell begins with a store whose log begins anew."""
    lsn: int

    @classmethod
    def parse(cls, key: str) -> Self:
        """Of a key below ``log/``.

        Raises:
            Corrupt: no such name.
        """
        try:
            ms, incarnation, lsn = map(int, key.rpartition("/")[2].split("-"))
        except ValueError as error:
            raise Corrupt(f"{key} lies among backups and is none; move it away") from error
        return cls(ms, incarnation, lsn)


def segment_key(cell: str, name: SegmentName) -> str:
    """Where a segment lies."""
    return f"log/{cell}/{name.ms // DAY_MS}/{name.ms:014d}-{name.incarnation:04d}-{name.lsn:016d}"


def days_between(first_ms: int, last_ms: int) -> range:
    """Days (since 1970) whose segments may lie between two times."""
    return range(first_ms // DAY_MS, last_ms // DAY_MS + 1)


def base_key(cell: str, ms: int, slot: str) -> str:
    """Where the base of a slot lies."""
    return f"base/{cell}/{ms:014d}/{slot.replace('/', '.')}"


def book_key(slot: str, cell: str) -> str:
    """Where a book lies."""
    return f"books/{slot}/{cell}"


def encode_archived(archived: Archived) -> bytes:
    """The stored form."""
    return msgspec.msgpack.encode(archived)


def decode_archived(raw: bytes, *, key: str) -> Archived:
    """Parse a segment or base.

    Raises:
        Corrupt: it is neither, or of a later version.
    """
    try:
        found = msgspec.msgpack.decode(raw, type=Archived)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"backup {key} cannot be read: {error}; the copy in another region may be whole") from error
    if found.format != 1:
        raise Corrupt(f"backup {key} has format {found.format}, this version reads 1; run a newer eisbach")
    return found


class _Pages(msgspec.Struct):
    accounts: dict[str, tuple[bytes, bytes]]


class _Body(msgspec.Struct, frozen=True, array_like=True):
    change: ItemChange | None
    event: EventDraft | None


def _bound_to(op: Op) -> bytes:
    """What a sealed body is good for: this op at this time, no other."""
    return f"{op.id}:{op.hlc}:{int(op.more)}".encode()


_body_decoder = msgspec.msgpack.Decoder(_Body)


class Book:
    """The keys of one slot's accounts, as one cell seals them."""

    def __init__(self, *, entropy: Callable[[int], bytes]) -> None:
        """``entropy``: random bytes fit for keys."""
        self._entropy = entropy
        self._accounts: dict[str, tuple[bytes, bytes]] = {}
        self._keys: dict[bytes, AESGCM] = {}
        self._nonces: list[bytes] = []
        self.changed = False
        """Whether it differs from what was last encoded."""

    def seal(self, op: Op) -> SealedOp:
        """Seal under the key of the account whose item it changes; a new account gets one."""
        owner = op.change.pk if op.change is not None else _NOBODY
        return self._seal(op, owner)

    def seal_for_ever(self, op: Op) -> SealedOp:
        """Seal so that no erasure makes it unreadable."""
        return self._seal(op, _NOBODY)

    def _seal(self, op: Op, owner: str) -> SealedOp:
        if owner not in self._accounts:
            self._accounts[owner] = (self._entropy(_KID_BYTES), self._entropy(_KEY_BYTES))
            self.changed = True
        kid, key = self._accounts[owner]
        nonce = self._nonce()
        body = msgspec.msgpack.encode(_Body(op.change, op.event))
        sealed = nonce + self._cipher(kid, key).encrypt(nonce, body, _bound_to(op))
        return SealedOp(op.slot, op.origin, op.epoch, op.seq, op.hlc, op.more, kid, sealed)

    def _nonce(self) -> bytes:
        """Twelve random bytes that no op was sealed with, drawn many at once: each draw is a call of the system."""
        if not self._nonces:
            drawn = self._entropy(_NONCE * _NONCES)
            self._nonces = [drawn[at : at + _NONCE] for at in range(0, len(drawn), _NONCE)]
        return self._nonces.pop()

    def open(self, sealed: SealedOp) -> Op | None:
        """The op; None when its account's key is not here (any more).

        Raises:
            Corrupt: the body was changed since.
        """
        if (cipher := self._keys.get(sealed.kid)) is None:
            return None
        bare = Op(sealed.slot, sealed.origin, sealed.epoch, sealed.seq, sealed.hlc, None, None, sealed.more)
        try:
            raw = cipher.decrypt(sealed.body[:_NONCE], sealed.body[_NONCE:], _bound_to(bare))
        except InvalidTag as error:
            raise Corrupt(f"the backup of op {bare.id} was changed; use another region's") from error
        body = _body_decoder.decode(raw)
        return msgspec.structs.replace(bare, change=body.change, event=body.event)

    def kid_of(self, account: str) -> bytes | None:
        """The name of an account's key, None when it has none."""
        found = self._accounts.get(account)
        return found[0] if found is not None else None

    def destroy(self, account: str) -> None:
        """Forget an account's key: with the next ``encode`` all that it sealed is unreadable for ever."""
        if (found := self._accounts.pop(account, None)) is not None:
            self._keys.pop(found[0], None)
            self.changed = True

    def encode(self, kek: bytes, *, key: str) -> bytes:
        """The stored form, wrapped with the region's backup key; bound to its own place, ``key``."""
        self.changed = False
        nonce = self._entropy(_NONCE)
        return nonce + AESGCM(kek).encrypt(nonce, msgspec.msgpack.encode(_Pages(self._accounts)), key.encode())

    @classmethod
    def decode(cls, raw: bytes, kek: bytes, *, key: str, entropy: Callable[[int], bytes]) -> Self:
        """Parse what ``encode`` wrote.

        Raises:
            Invalid: not with this backup key.
        """
        try:
            plain = AESGCM(kek).decrypt(raw[:_NONCE], raw[_NONCE:], key.encode())
        except InvalidTag as error:
            raise Invalid(f"{key} does not open with this region's backup key; give the key that wrapped it") from error
        book = cls(entropy=entropy)
        book._accounts = dict(msgspec.msgpack.decode(plain, type=_Pages).accounts)
        for kid, secret in book._accounts.values():
            book._cipher(kid, secret)
        return book

    def _cipher(self, kid: bytes, key: bytes) -> AESGCM:
        if kid not in self._keys:
            self._keys[kid] = AESGCM(key)
        return self._keys[kid]
