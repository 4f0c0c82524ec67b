"""Accounts: who a viewer is, from a device alone, and in which group and slot the account lives.

Promises: the same device and market always give the same account, in every region, without a lookup.
May not know: tokens' form, HTTP, stores.
"""

import re
from collections.abc import Iterable
from typing import ClassVar

import msgspec

from eisbach.kernel.errors import Denied, Invalid
from eisbach.kernel.ids import AccountId, derived_id
from eisbach.kernel.limits import STREAMS_MAX_FREE, STREAMS_MAX_PREMIUM
from eisbach.kernel.slots import STUDIO_GROUP, Group

__all__ = [
    "AGE_BANDS",
    "DEFAULT_PROFILE",
    "PLATFORMS",
    "TIERS",
    "Account",
    "AccountCreated",
    "AccountDeleted",
    "Identity",
    "Profile",
    "account_of",
    "age_band",
    "group_for",
    "new_account",
    "parse_device",
    "profile_of",
    "streams_max",
]

AGE_BANDS = (0, 6, 12, 16, 18)
"""FSK labels; 16 and 18 need a PIN, which an anonymous account has not."""
TIERS = ("free", "premium")
PLATFORMS = ("tv", "mobile", "web")
DEFAULT_PROFILE = "p1"
ANONYMOUS_AGE_MAX = 12
_DEVICE = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person of an account."""

    id: str
    kind: str = "adult"
    """``adult`` or ``kid``."""
    age_max: int = ANONYMOUS_AGE_MAX
    """Highest FSK label it may play without a PIN."""


class Account(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The item ``account`` of an account."""

    id: str
    market: str
    group: str
    created_ms: int
    tier: str = "free"
    entitlement: int = 0
    """Version of its source; the higher wins."""
    profiles: list[Profile]


class AccountCreated(msgspec.Struct, frozen=True, kw_only=True):
    """Data of ``tv.account.created.v1``; an id, never a name, mail or address."""

    event_type: ClassVar[str] = "tv.account.created.v1"

    account: str
    kind: str
    market: str


class AccountDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """Data of ``tv.account.deleted.v1``: for spokes that keep something of their own by account."""

    event_type: ClassVar[str] = "tv.account.deleted.v1"

    account: str


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls: what an access token says, already verified."""

    account: str
    device: str
    profile: str
    market: str
    tier: str
    platform: str
    age_max: int
    entitlement: int
    slot: str


def parse_device(text: str) -> str:
    """Return ``text`` when it can be a device id.

    The id is all that an anonymous viewer has to prove who they are: apps make it from 64 random bits or more.

    Raises:
        Invalid: not 8 to 64 of ``[A-Za-z0-9_-]``.
    """
    if _DEVICE.fullmatch(text) is None:
        raise Invalid(f"device_id has {len(text)} characters; use 8 to 64 random ones of A-Z, a-z, 0-9, '_', '-'")
    return text


def account_of(device: str, group: Group) -> AccountId:
    """The anonymous account of a device in a group; derived, so that both regions give the same."""
    return AccountId(derived_id("a", str(group), device))


def group_for(market: str, groups: Iterable[str]) -> Group:
    """The group whose cells keep new accounts of a market.

    A market without a group of its own (``ch`` today) is refused rather than put into a neighbour's: the group fixes
    for life where personal data are kept and which rights hold, so guessing it could never be undone.

    Raises:
        Denied: ``market``, naming those there are.
    """
    found = [group for group in map(Group.parse, groups) if group != STUDIO_GROUP and group.cohort == "main"]
    for group in found:
        if group.market == market:
            return group
    known = ", ".join(sorted(group.market for group in found)) or "none"
    raise Denied(f"market {market[:16]!r} is not served here; this platform serves: {known}", code="market")


def new_account(account: str, group: Group, *, at_ms: int) -> Account:
    """An anonymous account with its one profile."""
    return Account(
        id=account, market=group.market, group=str(group), created_ms=at_ms, profiles=[Profile(id=DEFAULT_PROFILE)]
    )


def profile_of(account: Account, profile: str) -> Profile:
    """The profile with that id.

    Raises:
        Denied: ``profile``, the account has no such profile.
    """
    for found in account.profiles:
        if found.id == profile:
            return found
    raise Denied(f"profile {profile[:64]!r} is not one of this account's; sign in again", code="profile")


def age_band(age_max: int) -> int:
    """The highest FSK label at or below ``age_max``: the part of a public URL that stands for a profile's age."""
    return max(band for band in AGE_BANDS if band <= max(0, age_max))


def streams_max(tier: str) -> int:
    """How many streams an account of this tier may play at once."""
    return STREAMS_MAX_PREMIUM if tier == "premium" else STREAMS_MAX_FREE
