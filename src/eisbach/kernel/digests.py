"""The digest of a slot's items, alike in every engine: two regions compare them whatever their stores are made of.

Promises: independent of the order in which items are added; equal exactly when keys, versions and tombstones are.
Values are not hashed: a version names one value for ever.
"""

import hashlib
import zlib
from collections.abc import Sequence

from eisbach.kernel.errors import Invalid

__all__ = ["SlotDigest"]


class SlotDigest:
    """Sums of one slot, a bucket by hash of the item's key."""

    def __init__(self, buckets: int) -> None:
        """``buckets``: 1 to 4096, else Invalid."""
        if not 1 <= buckets <= 4096:
            raise Invalid(f"a digest in {buckets} buckets; use 1 to 4096")
        self._sums = [0] * buckets

    def add(self, pk: str, sk: str, version: Sequence[object], *, dead: bool) -> None:
        """Add an item; ``version`` is (hlc, origin, seq), ``dead`` says that it is a tombstone."""
        key = f"{len(pk)}:{pk}{sk}".encode()
        entry = hashlib.blake2b(repr([*version, int(dead)]).encode(), digest_size=16, key=hashlib.sha256(key).digest())
        self._sums[zlib.crc32(key) % len(self._sums)] ^= int.from_bytes(entry.digest(), "big")

    def hexadecimal(self) -> list[str]:
        """A digest a bucket, 32 hexadecimal digits each."""
        return [f"{value:032x}" for value in self._sums]
