"""A cell's catalogue in its own table: whole after a restart, and never put back by one who is behind."""

import pytest

from eisbach.engines.aws.clients import AwsPlace, open_clients
from eisbach.engines.aws.projection_store import DynamoProjectionStore
from eisbach.engines.aws.tables import make_tables
from eisbach.ports.projection_store import Kept
from eisbach.testing.aws.emulator import AwsEmulator

pytestmark = pytest.mark.aws


def kept(
    revision: int, body: bytes, *, id_: str = "t-1", hlc: int = 1, origin: str = "eu-central", seq: int = 1
) -> Kept:
    return Kept("title", id_, (revision, hlc, origin, seq), body)


async def test_the_newest_of_each_document_is_kept_whoever_writes_last(
    aws: AwsEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = aws.regions[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint(region))
    async with open_clients(AwsPlace(region=region)) as clients:
        await make_tables([clients], prefix="eb", cell="c1")
        one, other = (DynamoProjectionStore(clients, table="eb-c1-state") for _ in range(2))
        large = b'{"x":"' + b"y" * 500_000 + b'"}'
        await one.keep([kept(2, b"new"), kept(1, large, id_="t-2")])
        for behind in (kept(1, b"old"), kept(2, b"old", hlc=0), kept(2, b"old", origin="a"), kept(2, b"old", seq=0)):
            await other.keep([behind])
        await other.keep([kept(2, b"newer", origin="eu-west")])

        found = {k.id: k for k in await other.load()}
    assert (found["t-1"].body, found["t-1"].version) == (b"newer", (2, 1, "eu-west", 1))
    assert found["t-2"].body == large
