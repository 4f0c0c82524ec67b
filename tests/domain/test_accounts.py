"""Accounts: derived, placed, bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eisbach.domain.accounts import AGE_BANDS, account_of, age_band, group_for, new_account, parse_device, profile_of
from eisbach.kernel.errors import Denied, Invalid
from eisbach.kernel.slots import Group

GROUPS = ["eu/de/main", "eu/at/main", "any/all/studio"]


def test_a_device_is_the_same_account_in_every_region_and_another_in_another_market() -> None:
    german, austrian = Group.parse("eu/de/main"), Group.parse("eu/at/main")

    assert account_of("device-0001", german) == account_of("device-0001", german)
    assert account_of("device-0001", german) != account_of("device-0001", austrian)


def test_a_market_without_a_group_is_refused_and_the_answer_names_those_there_are() -> None:
    with pytest.raises(Denied, match="at, de") as refused:
        group_for("ch", GROUPS)

    assert refused.value.code == "market"


def test_the_studio_is_nobodys_market() -> None:
    with pytest.raises(Denied):
        group_for("all", GROUPS)


@pytest.mark.parametrize("text", ["", "short", "x" * 65, "with space", "ümlaut-device", "semi;colon1", "line\nbreak"])
def test_a_device_id_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_device(text)


def test_an_anonymous_account_may_not_play_what_needs_a_pin() -> None:
    account = new_account("a-1", Group.parse("eu/de/main"), at_ms=5)

    assert profile_of(account, "p1").age_max == 12
    with pytest.raises(Denied):
        profile_of(account, "p2")


@given(st.integers(-5, 200))
def test_an_age_band_is_never_above_the_age(age: int) -> None:
    band = age_band(age)

    assert band in AGE_BANDS
    assert band <= max(age, 0)
