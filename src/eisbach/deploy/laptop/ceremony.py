"""The key ceremony: every region's own ``secrets.json``, made once, 0600, completed when a region is added.

Regions share what a real deployment would share too (public keys, media keys, peer token); each signs with a key of
its own. Nothing here is logged. The demo's single node has keys of its own: its tokens open nothing on the right.
"""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from joserfc.jwk import OKPKey

from eisbach.kernel.errors import Invalid
from eisbach.settings import Secrets

__all__ = ["ensure_secrets", "keep_operator_token", "operator_token", "write_private"]

_TOKEN_CHARS_MIN: Final = 16
"""Of URL-safe base64, 96 bits; those that are made here have 43 characters."""


def write_private(path: Path, content: bytes) -> None:
    """Write whole or not at all, readable by the owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def operator_token(root: Path) -> str:
    """The operator token in ``secrets/operator-token``, or a new one; writes nothing.

    Raises:
        Invalid: the file cannot be read, or what it holds is too short to be guessed by nobody.
    """
    path = root / "secrets" / "operator-token"
    try:
        token = path.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return secrets.token_urlsafe(32)
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"the operator's token {path} cannot be read: {error}; mend the file, or move it away") from error
    if len(token) < _TOKEN_CHARS_MIN:
        raise Invalid(
            f"the operator's token in {path} has {len(token)} characters, at least {_TOKEN_CHARS_MIN} are needed: with"
            " a shorter one anybody may command the platform; put it back from a copy, or move the file away: the next"
            " start makes a new one"
        )
    return token


def keep_operator_token(root: Path, token: str) -> None:
    """Keep ``token``, which ``operator_token`` gave, for commands and for the next start."""
    path = root / "secrets" / "operator-token"
    if not path.exists() or path.read_text().strip() != token:
        write_private(path, token.encode())


def ensure_secrets(folders: Sequence[tuple[str, Path]], *, operator_token: str) -> None:
    """Make what is missing of the secrets of regions that trust each other.

    Args:
        folders: (region, folder that gets ``secrets.json``).
        operator_token: the same everywhere.

    Raises:
        Invalid: an existing file cannot be read; nothing was changed.
    """
    known = {region: _read(folder / "secrets.json") for region, folder in folders}
    shared = next((s for s in known.values() if s is not None), None)
    media = shared.media_keys if shared else _two_keys("m")
    sessions = shared.session_keys if shared else _two_keys("s")
    peer = shared.peer_token if shared else secrets.token_urlsafe(32)
    private = {region: s.jwt_private if s else _signing_key(region) for region, s in known.items()}
    public = [{k: v for k, v in key.items() if k != "d"} for key in private.values()]
    for region, folder in folders:
        old = known[region]
        new = Secrets(
            jwt_private=private[region],
            jwt_public=public,
            media_keys=media,
            session_keys=sessions,
            map_key=old.map_key if old else secrets.token_hex(32),
            peer_token=peer,
            service_token=old.service_token if old else secrets.token_urlsafe(32),
            operator_token=operator_token,
            backup_key=(old.backup_key if old else "") or secrets.token_hex(32),
        )
        if new != old:
            write_private(folder / "secrets.json", msgspec.json.encode(new))


def _read(path: Path) -> Secrets | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Secrets)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not a secrets document: {error}; restore it, or use another --data") from error


def _two_keys(prefix: str) -> dict[str, str]:
    """Two live keys: the first signs, the second lets a rotation be tested."""
    return {f"{prefix}1": secrets.token_hex(32), f"{prefix}2": secrets.token_hex(32)}


def _signing_key(region: str) -> dict[str, str]:
    key = OKPKey.generate_key("Ed25519", parameters={"kid": f"{region}-{secrets.token_hex(4)}"}, private=True)
    return {name: str(value) for name, value in key.as_dict(private=True).items() if isinstance(value, str)}
