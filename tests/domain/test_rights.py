"""Rights: window x market x tier x age."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eisbach.domain.catalog import RightsWindow, Title
from eisbach.domain.rights import check_rights, is_offered, rights_until
from eisbach.kernel.errors import Denied, NotFound


def title(**fields: object) -> Title:
    given = {
        "id": "tears", "revision": 1, "names": {"en": "Tears"}, "state": "published", "age": 12,
        "rights": [RightsWindow(markets=["de"], tiers=["premium"], from_ms=100, to_ms=200)],
    }  # fmt: skip
    return Title(**{**given, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ({"market": "at"}, "geo"),
        ({"at_ms": 99}, "rights_window"),
        ({"at_ms": 200}, "rights_window"),
        ({"tier": "free"}, "entitlement"),
        ({"age_max": 6}, "age_pin"),
    ],
)
def test_each_refusal_has_its_own_reason(where: dict[str, object], code: str) -> None:
    asked = {"market": "de", "tier": "premium", "age_max": 12, "at_ms": 100, **where}

    with pytest.raises(Denied) as refused:
        check_rights(title(), **asked)  # type: ignore[arg-type]

    assert refused.value.code == code


def test_inside_the_window_with_plan_and_age_it_plays() -> None:
    check_rights(title(), market="de", tier="premium", age_max=12, at_ms=199)


def test_for_viewers_an_unpublished_title_does_not_exist() -> None:
    with pytest.raises(NotFound):
        check_rights(title(state="draft"), market="de", tier="premium", age_max=18, at_ms=150)


def test_a_title_without_windows_plays_nowhere() -> None:
    with pytest.raises(Denied, match="market"):
        check_rights(title(rights=[]), market="de", tier="premium", age_max=18, at_ms=150)


def test_a_free_viewer_is_offered_a_premium_title_but_not_one_that_is_too_old_for_them() -> None:
    assert is_offered(title(), market="de", age_max=12, at_ms=150)
    assert not is_offered(title(), market="de", age_max=6, at_ms=150)


windows = st.builds(
    RightsWindow,
    markets=st.lists(st.sampled_from(["de", "at"]), min_size=1, unique=True),
    tiers=st.lists(st.sampled_from(["free", "premium"]), min_size=1, unique=True),
    from_ms=st.integers(0, 100),
    to_ms=st.integers(0, 100),
)


@given(
    st.lists(windows, max_size=5),
    st.sampled_from(["de", "at"]),
    st.sampled_from(["free", "premium"]),
    st.integers(0, 100),
)
def test_it_plays_exactly_when_one_window_allows_all_of_it(
    rights: list[RightsWindow], market: str, tier: str, at_ms: int
) -> None:
    wanted = any(market in w.markets and tier in w.tiers and w.from_ms <= at_ms < w.to_ms for w in rights)

    try:
        check_rights(title(rights=rights, age=0), market=market, tier=tier, age_max=0, at_ms=at_ms)
    except Denied:
        assert not wanted
    else:
        assert wanted
        assert rights_until(title(rights=rights), market=market, tier=tier, at_ms=at_ms) > at_ms
