"""Blobs as objects in a bucket.

Promises: ``ports.blobs``. An object appears whole (one request, or a multipart upload that is completed once all is
there) and every part travels with its SHA-256, which S3 checks; ``read`` and ``local_path`` check what comes back
against the digest that is kept beside it. In memory are at most eight parts of 8 MiB of one upload. What differs
(docs/engines.md): a write whose answer is lost has an unknown outcome, and a kill can leave parts that the bucket's
lifecycle rule removes.

The digest of a small object, or of one that was announced, is in its metadata. A large one's is known only when its
metadata can no longer be written, so it lies in ``.digests/KEY/NUMBER``, written before the upload is completed, and
the metadata name the number. ``.digests`` is no key. An object of somebody else has none, and is digested by reading.
"""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from botocore.exceptions import ClientError

from eisbach.engines.aws.clients import AwsClients
from eisbach.engines.aws.errors import aws_errors, code_of
from eisbach.kernel.errors import DigestMismatch, EisbachError, Invalid, NotFound, Unavailable
from eisbach.kernel.limits import MIB
from eisbach.kernel.media_types import MEDIA_TYPES
from eisbach.ports.blobs import BLOB_KEYS_MAX, BLOB_READ_MAX, BlobInfo, check_key, check_prefix, is_key

__all__ = ["PART_BYTES", "S3Blobs"]

PART_BYTES: Final = 8 * MIB
"""10,000 of them, S3's most, are 80 GB: more than an upload may have."""
_AT_ONCE: Final = 3
_PIECE_BYTES: Final = MIB
_DELETED_AT_ONCE: Final = 1000
_DIGESTS: Final = ".digests/"
_ABSENT: Final = ("404", "NoSuchKey", "NotFound")
_TAKEN: Final = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


_FOR_LIFE: Final = "public, max-age=31536000, immutable"


class _Digest(msgspec.Struct, frozen=True, kw_only=True):
    sha256: str
    bytes: int


class S3Blobs:
    """One bucket; ``scratch`` is where ``local_path`` puts copies, under their keys."""

    def __init__(self, clients: AwsClients, bucket: str, *, scratch: Path) -> None:
        self._s3, self._bucket, self._scratch = clients.s3, bucket, scratch.resolve()
        self._here: dict[str, str] = {}
        """Key -> entity tag of the copy in ``scratch``."""

    async def put(
        self, key: str, content: AsyncIterator[bytes] | bytes, *, sha256: str | None = None, once: bool = False
    ) -> BlobInfo:
        """See ``Blobs``. Cancelling stores nothing."""
        check_key(key)
        if once and (there := await self.info(key)) is not None:
            return there
        more = {"IfNoneMatch": "*"} if once else {}
        parts = _parts(content)
        first = await anext(parts, b"")
        second = await anext(parts, None)
        try:
            if second is None:
                return await self._put_small(key, first, sha256, more)
            return await self._put_large(key, _chained(first, second, parts), sha256, more)
        except _Taken:
            told = await self.info(key)
            if told is None:
                raise Unavailable(f"blob {key} was taken and is gone again; try again") from None
            return told

    async def put_file(self, key: str, path: Path) -> BlobInfo:
        """See ``Blobs``: copied."""

        async def pieces() -> AsyncIterator[bytes]:
            try:
                with path.open("rb") as file:
                    while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                        yield piece
            except OSError as error:
                raise Unavailable(f"blob {key} could not be read from {path}: {error}; nothing was kept") from error

        return await self.put(key, pieces())

    async def read(self, key: str) -> bytes:
        """See ``Blobs``."""
        async with self._get(key) as found:
            if found["ContentLength"] > BLOB_READ_MAX:
                raise Invalid(f"blob {key} is over {BLOB_READ_MAX} bytes; use local_path")
            with aws_errors(f"read of blob {key}"):
                body: bytes = await found["Body"].read()
        await self._verify(key, found, hashlib.sha256(body).hexdigest(), len(body))
        return body

    async def local_path(self, key: str) -> Path:
        """See ``Blobs``: a copy in ``scratch``, brought anew when the object is another one."""
        check_key(key)
        target = self._scratch / key
        async with self._get(key) as found:
            if target.is_file() and self._here.get(key) == found["ETag"]:
                return target
            part = target.with_name(f".{target.name}.part")
            try:
                sha256, size = await self._download(key, found, part)
                await self._verify(key, found, sha256, size)
                part.replace(target)
            except OSError as error:
                raise Unavailable(f"blob {key} could not be copied here: {error}; free the disk") from error
            finally:
                part.unlink(missing_ok=True)
        self._here[key] = found["ETag"]
        return target

    async def info(self, key: str) -> BlobInfo | None:
        """See ``Blobs``; reads the object to digest it only where nobody kept its digest."""
        check_key(key)
        found = await self._head(key)
        if found is None:
            return None
        kept = await self._kept(key, found)
        if kept is None:
            path = await self.local_path(key)
            with path.open("rb") as file:
                kept = (await asyncio.to_thread(hashlib.file_digest, file, "sha256")).hexdigest()
        return BlobInfo(key, found["ContentLength"], kept)

    async def keys(self, prefix: str) -> Sequence[str]:
        """See ``Blobs``."""
        check_prefix(prefix)
        return [key for key in await self._listed(prefix) if is_key(key)][:BLOB_KEYS_MAX]

    async def delete(self, prefix: str) -> int:
        """See ``Blobs``."""
        check_prefix(prefix, deletes=True)
        keys = await self.keys(prefix)
        for found in (keys, await self._listed(f"{_DIGESTS}{prefix}")):
            for start in range(0, len(found), _DELETED_AT_ONCE):
                await self._delete(found[start : start + _DELETED_AT_ONCE])
        for key in keys:
            self._here.pop(key, None)
            (self._scratch / key).unlink(missing_ok=True)
        return len(keys)

    async def _put_small(self, key: str, body: bytes, wanted: str | None, more: dict[str, str]) -> BlobInfo:
        digest = hashlib.sha256(body)
        info = BlobInfo(key, len(body), digest.hexdigest())
        _check(info, wanted)
        await self._call(
            f"put of blob {key}", "put_object", Key=key, Body=body, Metadata={"sha256": info.sha256},
            ChecksumSHA256=_b64(digest.digest()), **_served(key), **more,
        )  # fmt: skip
        return info

    async def _put_large(
        self, key: str, parts: AsyncIterator[bytes], wanted: str | None, more: dict[str, str]
    ) -> BlobInfo:
        doing, number = f"put of blob {key}", secrets.token_hex(16)
        metadata = {"sha256": wanted} if wanted is not None else {"digest": number}
        began = await self._call(
            doing, "create_multipart_upload", Key=key, Metadata=metadata, ChecksumAlgorithm="SHA256", **_served(key)
        )
        upload = {"Key": key, "UploadId": began["UploadId"]}
        try:
            sent, info = await self._send(doing, upload, parts)
            _check(info, wanted)
            if wanted is None:
                kept = msgspec.json.encode(_Digest(sha256=info.sha256, bytes=info.bytes))
                await self._call(doing, "put_object", Key=f"{_DIGESTS}{key}/{number}", Body=kept)
            await self._call(doing, "complete_multipart_upload", **upload, MultipartUpload={"Parts": sent}, **more)
        except BaseException:
            await self._abort(upload, f"{_DIGESTS}{key}/{number}" if wanted is None else "")
            raise
        return info

    async def _send(
        self, doing: str, upload: dict[str, str], parts: AsyncIterator[bytes]
    ) -> tuple[list[dict[str, Any]], BlobInfo]:
        """Send every part, three at a time; what S3 wants to be told of them, in order."""
        whole, size, tasks = hashlib.sha256(), 0, list[asyncio.Task[dict[str, Any]]]()
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int, part: bytes) -> dict[str, Any]:
            try:
                checksum = _b64(hashlib.sha256(part).digest())
                told = await self._call(
                    doing, "upload_part", **upload, PartNumber=number, Body=part, ChecksumSHA256=checksum
                )
                return {"PartNumber": number, "ETag": told["ETag"], "ChecksumSHA256": checksum}
            finally:
                room.release()

        try:
            async with asyncio.TaskGroup() as group:
                async for part in parts:
                    whole.update(part)
                    size += len(part)
                    await room.acquire()
                    tasks.append(group.create_task(one(len(tasks) + 1, part)))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return [task.result() for task in tasks], BlobInfo(upload["Key"], size, whole.hexdigest())

    async def _abort(self, upload: dict[str, str], digest: str) -> None:
        """Best effort: what stays is not visible, and the bucket's lifecycle rule removes it within a day."""
        try:
            await self._call("end of an upload", "abort_multipart_upload", **upload)
            if digest:
                await self._call("end of an upload", "delete_object", Key=digest)
        except (EisbachError, _Taken):
            return

    async def _download(self, key: str, found: dict[str, Any], part: Path) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            async for piece in _body(key, found):
                digest.update(piece)
                size += len(piece)
                await asyncio.to_thread(file.write, piece)
        return digest.hexdigest(), size

    async def _verify(self, key: str, found: dict[str, Any], sha256: str, size: int) -> None:
        kept = await self._kept(key, found)
        if size != found["ContentLength"] or (kept is not None and kept != sha256):
            raise DigestMismatch(f"blob {key}: {size} bytes with sha256 {sha256} came, {kept} was stored; read again")

    async def _kept(self, key: str, found: dict[str, Any]) -> str | None:
        """The digest that was kept when it was stored."""
        told: dict[str, str] = found.get("Metadata") or {}
        if "sha256" in told or "digest" not in told:
            return told.get("sha256")
        try:
            async with self._get(f"{_DIGESTS}{key}/{told['digest'][:64]}") as beside:
                kept = msgspec.json.decode(await beside["Body"].read(), type=_Digest)
        except (NotFound, msgspec.DecodeError, UnicodeDecodeError):
            return None  # a copy of the object that came before its digest
        return kept.sha256

    async def _head(self, key: str) -> dict[str, Any] | None:
        try:
            return await self._call(f"look at blob {key}", "head_object", Key=key)
        except NotFound:
            return None

    @asynccontextmanager
    async def _get(self, key: str) -> AsyncIterator[dict[str, Any]]:
        if not key.startswith(_DIGESTS):
            check_key(key)
        found = await self._call(f"read of blob {key}", "get_object", Key=key)
        async with found["Body"]:
            yield found

    async def _listed(self, prefix: str) -> list[str]:
        found: list[str] = []
        more: dict[str, str] = {}
        while len(found) < BLOB_KEYS_MAX:
            told = await self._call(f"list of blobs {prefix}", "list_objects_v2", Prefix=prefix, **more)
            found += [one["Key"] for one in told.get("Contents", ())]
            if not told.get("IsTruncated"):
                break
            more = {"ContinuationToken": told["NextContinuationToken"]}
        return found

    async def _delete(self, keys: Sequence[str]) -> None:
        objects = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        told = await self._call(f"delete of {len(keys)} blobs", "delete_objects", Delete=objects)
        if errors := told.get("Errors"):
            one = errors[0]
            raise Unavailable(f"{len(errors)} blobs were not deleted, {one.get('Key')}: {one.get('Code')}; try again")

    async def _call(self, doing: str, operation: str, **given: Any) -> dict[str, Any]:
        """One request to the bucket.

        Raises:
            NotFound: no such object.
        """
        writes = operation not in ("get_object", "head_object", "list_objects_v2")
        with aws_errors(doing, writes=writes):
            try:
                told: dict[str, Any] = await getattr(self._s3, operation)(Bucket=self._bucket, **given)
            except ClientError as error:
                if code_of(error) in _ABSENT:
                    raise NotFound(f"{doing}: not in bucket {self._bucket}") from error
                if "IfNoneMatch" in given and code_of(error) in _TAKEN:
                    raise _Taken from error
                raise
        return told


async def _body(key: str, found: dict[str, Any]) -> AsyncIterator[bytes]:
    """In pieces; the consumer's own errors are none of AWS's."""
    with aws_errors(f"read of blob {key}"):
        async for piece in found["Body"].iter_chunks(_PIECE_BYTES):
            yield piece


class _Taken(Exception):
    """Another was first."""


def _check(info: BlobInfo, wanted: str | None) -> None:
    if wanted is not None and info.sha256 != wanted:
        raise DigestMismatch(f"blob {info.key}: sha256 is {info.sha256}, {wanted} was announced; send it again")


def _b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


async def _parts(content: AsyncIterator[bytes] | bytes) -> AsyncIterator[bytes]:
    """In parts of ``PART_BYTES``, the last one shorter; none for nothing."""
    held = bytearray()
    async for piece in _pieces(content):
        held += piece
        while len(held) >= PART_BYTES:
            yield bytes(held[:PART_BYTES])
            del held[:PART_BYTES]
    if held:
        yield bytes(held)


async def _pieces(content: AsyncIterator[bytes] | bytes) -> AsyncIterator[bytes]:
    if isinstance(content, bytes):
        for start in range(0, len(content), PART_BYTES):
            yield content[start : start + PART_BYTES]
        return
    async for piece in content:
        yield piece


async def _chained(first: bytes, second: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    yield second
    async for part in rest:
        yield part


def _served(key: str) -> dict[str, str]:
    """What a CDN says of an object that it serves from the bucket itself: media, which never change under their key."""
    kind = MEDIA_TYPES.get(key.rpartition(".")[2])
    return {"ContentType": kind, "CacheControl": _FOR_LIFE} if key.startswith("media/") and kind else {}
