"""Keys are made once, for the owner's eyes, and each region signs with its own."""

import json
import stat
from pathlib import Path

import msgspec
import pytest

from eisbach.deploy.laptop.ceremony import ensure_secrets, keep_operator_token, operator_token
from eisbach.kernel.errors import Invalid
from eisbach.settings import Secrets


def read(folder: Path) -> Secrets:
    return msgspec.json.decode((folder / "secrets.json").read_bytes(), type=Secrets)


def test_secrets_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    keep_operator_token(tmp_path, token := operator_token(tmp_path))
    ensure_secrets([("eu-central", tmp_path / "a")], operator_token=token)

    for path in (tmp_path / "a" / "secrets.json", tmp_path / "secrets" / "operator-token"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_regions_share_what_they_must_and_sign_with_keys_of_their_own(tmp_path: Path) -> None:
    ensure_secrets([("eu-central", tmp_path / "a"), ("eu-west", tmp_path / "b")], operator_token="t")
    one, two = read(tmp_path / "a"), read(tmp_path / "b")

    assert (one.peer_token, one.media_keys, one.session_keys) == (two.peer_token, two.media_keys, two.session_keys)
    assert one.jwt_public == two.jwt_public
    assert len({one.jwt_private["d"], two.jwt_private["d"]}) == 2
    assert len({one.map_key, two.map_key, one.service_token, two.service_token}) == 4
    assert not [key for key in one.jwt_public if "d" in key]


def test_a_second_start_changes_nothing_and_a_third_region_only_adds(tmp_path: Path) -> None:
    folders = [("eu-central", tmp_path / "a"), ("eu-west", tmp_path / "b")]
    ensure_secrets(folders, operator_token="t")
    before = read(tmp_path / "a")
    ensure_secrets(folders, operator_token="t")
    assert read(tmp_path / "a") == before

    ensure_secrets([*folders, ("us-east", tmp_path / "c")], operator_token="t")
    after = read(tmp_path / "a")

    assert msgspec.structs.replace(after, jwt_public=before.jwt_public) == before
    assert after.jwt_public[:2] == before.jwt_public
    assert read(tmp_path / "c").peer_token == before.peer_token


@pytest.mark.parametrize("held", ["", "\n", "short"])
def test_a_token_that_anybody_could_guess_is_refused_and_kept(tmp_path: Path, held: str) -> None:
    """Emptied by a full disk, or a hand, it made everybody the operator."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "operator-token").write_text(held)

    with pytest.raises(Invalid, match=rf"has {len(held.strip())} characters, at least 16 .* move the file away"):
        operator_token(tmp_path)
    assert (tmp_path / "secrets" / "operator-token").read_text() == held


@pytest.mark.parametrize("name", ["map_key", "peer_token", "service_token", "operator_token", "media_keys"])
def test_secrets_of_which_one_is_empty_are_refused(tmp_path: Path, name: str) -> None:
    ensure_secrets([("eu-central", tmp_path)], operator_token="t")
    document = json.loads((tmp_path / "secrets.json").read_text())
    document[name] = {"m1": ""} if name == "media_keys" else ""
    (tmp_path / "secrets.json").write_text(json.dumps(document))

    with pytest.raises(Invalid, match=f"{name} must not be empty"):
        ensure_secrets([("eu-central", tmp_path)], operator_token="t")


def test_a_broken_file_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "secrets.json").write_text("{}")

    with pytest.raises(Invalid, match=r"secrets\.json is not a secrets document"):
        ensure_secrets([("eu-central", tmp_path / "a")], operator_token="t")
    assert (tmp_path / "a" / "secrets.json").read_text() == "{}"
