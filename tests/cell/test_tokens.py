"""Access tokens: one algorithm, known keys, a bounded memory."""

import random

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from eisbach.cell import identity
from eisbach.cell.identity import Tokens
from eisbach.cell.problems import Unauthorized
from eisbach.domain.accounts import Identity
from eisbach.testing.manual_clock import ManualClock

WHO = Identity(
    account="a-1", device="device-1", profile="p1", market="de", tier="free", platform="tv", age_max=12, entitlement=0,
    slot="eu/de/main/1",
)  # fmt: skip


def key(kid: str) -> dict[str, str]:
    return OKPKey.generate_key("Ed25519", {"kid": kid}).as_dict(private=True)  # type: ignore[return-value]


HERE, THERE, STRANGER = key("here"), key("there"), key("stranger")


def tokens(private: dict[str, str] = HERE, clock: ManualClock | None = None) -> Tokens:
    return Tokens(private=private, public=[HERE, THERE], clock=clock or ManualClock(), rng=random.Random(1))


def refused(found: Tokens, text: str, **more: str) -> str:
    with pytest.raises(Unauthorized) as error:
        found.verify(text, **more)  # type: ignore[arg-type]
    return error.value.code


def test_a_token_of_either_region_is_known_in_both_and_verified_once() -> None:
    here, there = tokens(), tokens(THERE)
    access = there.mint(WHO).access

    assert [here.verify(access) for _ in range(3)] == [WHO] * 3
    assert here.statistics().verified == 1


def test_an_expired_token_is_refused_also_when_it_is_remembered_and_graced_only_in_an_outage() -> None:
    clock = ManualClock()
    found = tokens(clock=clock)
    minted = found.mint(WHO)
    found.verify(minted.access)
    clock.shift_wall(minted.expires_in * 1000 + 1000)

    assert refused(found, minted.access) == "token_expired"
    found.grace = True
    assert found.verify(minted.access) == WHO
    clock.shift_wall(6 * 3_600_000)
    assert refused(found, minted.access) == "token_expired"


def test_an_altered_token_one_of_a_stranger_and_a_refresh_token_do_not_hold() -> None:
    found = tokens()
    minted = found.mint(WHO)
    head, body, signature = minted.access.split(".")
    other = tokens(STRANGER).mint(WHO).access

    assert refused(found, f"{head}.{body[:-2]}AA.{signature}") == "token_invalid"
    assert refused(found, other) == "token_foreign"
    assert refused(found, minted.refresh) == "token_invalid"
    assert refused(found, minted.access, use="refresh") == "token_invalid"


def test_no_other_algorithm_is_accepted_whatever_the_header_says() -> None:
    found = tokens()
    claims = {"use": "access", "sub": "a-1", "exp": 1 << 40}
    public = OctKey.import_key(HERE["x"] * 2)
    forged = jwt.encode({"alg": "HS256", "kid": "here"}, claims, public, algorithms=["HS256"])

    assert refused(found, forged) == "token_invalid"
    assert refused(found, "eyJhbGciOiJub25lIn0.e30.") == "token_invalid"


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "ü.ü.ü", "." * 5000, "a" * 5000, "e30.e30.e30", "\x00"])
def test_garbage_is_refused_and_never_crashes(text: str) -> None:
    assert refused(tokens(), text) == "token_invalid"


def test_tokens_do_not_all_end_in_the_same_second() -> None:
    found = tokens()
    ends = {found.mint(WHO).expires_in for _ in range(50)}

    assert len(ends) > 20
    assert 720 <= min(ends) <= max(ends) <= 1080


def test_the_memory_of_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "REMEMBERED_MAX", 3)
    found = tokens()
    for _ in range(5):
        found.verify(found.mint(WHO).access)

    assert found.statistics().remembered == 3
