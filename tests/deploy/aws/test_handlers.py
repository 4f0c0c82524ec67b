"""Handlers in a real Lambda runtime client (awslambdaric, a process of its own), against the emulated region."""

import base64
import datetime as dt
import hashlib
import http.server
import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest

from eisbach.deploy.aws.documents import VARIABLE, CellDocument, ClaimsDocument, SpokeDocument
from eisbach.domain.ingest import ASSET_READY, ASSET_RECEIVED
from eisbach.engines.aws.clients import AwsPlace, open_clients
from eisbach.engines.aws.messages import message_of
from eisbach.engines.aws.spoke_store import DynamoSpokeStore
from eisbach.engines.embedded.clock import SystemClock
from eisbach.kernel.events import Event
from eisbach.ports.event_log import Envelope, encode_envelope
from eisbach.ports.spoke_store import DeadLetter, Held, Settlement
from eisbach.testing.aws.emulator import CREDENTIALS, ENVIRONMENT, AwsEmulator
from eisbach.testing.world.genesis import secrets_of

from .lambda_runtime import LambdaRuntime

pytestmark = pytest.mark.aws
REGION, TABLE, SECRET = "eu-central-1", "eisbach-studio-state", "eisbach/eu-central/studio"


class Studio(http.server.ThreadingHTTPServer):
    """Takes commands, remembers them, and refuses while it is told to."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, str, Any]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        studio = self

        class Posts(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if studio.status == 200:
                    assert self.headers["Authorization"] == "Bearer service"
                    studio.posts.append((self.path, self.headers["Idempotency-Key"], body))
                self.send_response(studio.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        return Posts


@pytest.fixture
def studio() -> Iterator[Studio]:
    server = Studio()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def region(aws: AwsEmulator) -> Any:
    """The table and the secret that the stacks make; clients by service."""

    def client(service: str) -> Any:
        return boto3.client(service, region_name=REGION, endpoint_url=aws.endpoint(REGION), **CREDENTIALS)

    client("dynamodb").create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": k, "AttributeType": "S"} for k in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    told = msgspec.json.encode(secrets_of("eu-central")).decode()
    client("secretsmanager").create_secret(Name=SECRET, SecretString=told)
    return client


def environment(aws: AwsEmulator, document: Any) -> dict[str, str]:
    return {**ENVIRONMENT, "AWS_ENDPOINT_URL": aws.endpoint(REGION), VARIABLE: msgspec.json.encode(document).decode()}


@pytest.fixture
def spoke(aws: AwsEmulator, region: Any, studio: Studio) -> Iterator[LambdaRuntime]:
    document = SpokeDocument(
        region="eu-central", aws_region=REGION, spoke="publish", state_table=TABLE, hub_table="eisbach-hub",
        secret=SECRET, studio=studio.url, blobs=f"s3:{REGION}/eb-media", copies={"eu-west": f"s3:{REGION}/eb-copies"},
    )  # fmt: skip
    runtime = LambdaRuntime("eisbach.deploy.aws.handlers.spoke.handle", environment(aws, document), timeout_s=30)
    yield runtime
    runtime.close()


def received(seq: int, prev: int, **more: Any) -> Event:
    data = {"asset": "a-1", "title": "t-1", "upload": "u-1", "source": "uploads/u-1", "bytes": 1, "sha256": "0", "home": "eu-central", "publish": True, **more}  # fmt: skip
    return event(ASSET_RECEIVED, seq, prev, data)


def event(type_: str, seq: int, prev: int, data: Any) -> Event:
    return Event(
        id=f"any/all/studio/3:eu-central:1:{seq}", source="//eu-central/ingest", type=type_, subject="a-1",
        time="2026-11-26T04:00:00.000Z", slot="any/all/studio/3", origin="eu-central", epoch=1, seq=seq, prev=prev,
        hlc=seq << 16, data=msgspec.Raw(msgspec.json.encode(data)), cell="studio",
    )  # fmt: skip


def record(number: int, *events: Event, body: str | None = None) -> dict[str, Any]:
    """As the runtime tells a message of the hub."""
    envelope = Envelope(source="eu-central/studio", first_lsn=number, last_lsn=number, events=events)
    message = message_of("eu-central/studio", number, encode_envelope(envelope))
    return {
        "messageId": f"m-{number}",
        "body": message.body if body is None else body,
        "attributes": {"ApproximateReceiveCount": "1", "MessageGroupId": message.group},
        "messageAttributes": {n: {"dataType": v["DataType"], "stringValue": v["StringValue"]} for n, v in message.attributes.items()},
    }  # fmt: skip


CLAIMS = ClaimsDocument(
    region="eu-central", aws_region=REGION, spokes=("publish", "transcode"), state_table=TABLE,
    blobs=f"s3:{REGION}/eb-media", copies={"eu-west": f"s3:{REGION}/eb-copies"},
)  # fmt: skip
READY = event(ASSET_READY, 2, 0, {"id": "a-1"})
PUBLISH = "/studio/titles/t-1/publish"


def test_a_batch_has_its_effects_once_however_often_it_comes(spoke: LambdaRuntime, studio: Studio) -> None:
    batch = {"Records": [record(1, received(1, 0)), record(2, READY)]}

    assert spoke.call(batch) == {"batchItemFailures": []}
    assert spoke.call(batch) == {"batchItemFailures": []}
    assert [(path, body) for path, _, body in studio.posts] == [(PUBLISH, {"asset": "a-1"})]
    assert spoke.cold_starts == 1


def claimed(whole: Event, origin: str) -> tuple[Event, str]:
    """The event as it is written when its payload is claimed; and the key of the payload."""
    digest = hashlib.sha256(whole.data).hexdigest()
    key = f"claims/2026-11-26/{digest}"
    data, dataref = msgspec.Raw(b'{"eisbach_claim":{"bytes":1}}'), f"blobs:{key}#sha256={digest}"
    return msgspec.structs.replace(whole, data=data, dataref=dataref, origin=origin), key


@pytest.fixture
def buckets(aws: AwsEmulator) -> Any:
    s3 = boto3.client("s3", region_name=REGION, endpoint_url=aws.endpoint(REGION), **CREDENTIALS)
    for name in ("eb-media", "eb-copies"):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return s3


def test_a_payload_by_claim_check_comes_from_the_regions_bucket(
    spoke: LambdaRuntime, studio: Studio, buckets: Any
) -> None:
    event_, key = claimed(received(1, 0), "eu-central")
    buckets.put_object(Bucket="eb-media", Key=key, Body=bytes(received(1, 0).data))

    assert spoke.call({"Records": [record(1, event_), record(2, READY)]}) == {"batchItemFailures": []}
    assert [path for path, _, _ in studio.posts] == [PUBLISH]


async def test_a_payload_of_another_region_is_waited_for_until_its_copy_is_here(aws: AwsEmulator, buckets: Any) -> None:
    from contextlib import AsyncExitStack

    from eisbach.deploy.aws.handlers.claims import claims_of
    from eisbach.kernel.errors import Unavailable

    document = SpokeDocument(
        region="eu-central", aws_region=REGION, spoke="any", state_table="", hub_table="", secret="", studio="",
        blobs=f"s3:{REGION}/eb-media", copies={"eu-west": f"s3:{REGION}/eb-copies"},
    )  # fmt: skip
    event_, key = claimed(received(1, 0), "eu-west")
    async with AsyncExitStack() as stack:
        place = AwsPlace(region=REGION, endpoint=aws.endpoint(REGION))
        clients = await stack.enter_async_context(open_clients(place, blobs=True))
        claims = await claims_of(document, clients, stack)
        with pytest.raises(Unavailable, match="is not copied to eu-central yet"):
            await claims.redeem(event_)
        buckets.put_object(Bucket="eb-copies", Key=key, Body=bytes(received(1, 0).data))

        assert bytes((await claims.redeem(event_)).data) == bytes(received(1, 0).data)
        buckets.delete_object(Bucket="eb-copies", Key=key)
        assert bytes((await claims.redeem(event_)).data) == bytes(received(1, 0).data), "brought once"


async def waiting(aws: AwsEmulator, held: Event, dead: Event) -> None:
    """One event that waits at a spoke, and a dead letter of another one."""
    place = AwsPlace(region=REGION, endpoint=aws.endpoint(REGION))
    async with open_clients(place) as clients:
        clock, rng = SystemClock(), random.Random(1)
        store = DynamoSpokeStore(clients, table=TABLE, spokes=["publish", "transcode"], clock=clock, rng=rng)
        raw, again = msgspec.json.encode(held), msgspec.json.encode(dead)
        hold = Held(event_id=held.id, subject="a-1", why="retry", attempt=1, due_ms=1, event=raw)
        await store.settle(Settlement(spoke="publish", event_id=held.id, subject="a-1", hold=hold))
        letter = DeadLetter(
            spoke="transcode", event_id=dead.id, kind="event", subject="a-1", reason="no", at_ms=1, body=again
        )
        await store.settle(Settlement(spoke="transcode", event_id=dead.id, subject="a-1", dead=letter))


async def test_claims_are_swept_every_hour_but_for_those_that_a_waiting_event_or_a_dead_letter_names(
    aws: AwsEmulator, region: Any, buckets: Any
) -> None:
    """The last object of the bucket's history stays readable for a week under its version, as the stacks say."""
    buckets.put_bucket_versioning(Bucket="eb-media", VersioningConfiguration={"Status": "Enabled"})
    held, kept = claimed(received(1, 0), "eu-central")
    dead, buried = claimed(received(2, 1, bytes=2), "eu-central")
    _, nobodys = claimed(received(3, 2, bytes=3), "eu-central")
    today = f"claims/{dt.datetime.now(dt.UTC):%Y-%m-%d}/{'0' * 64}"
    old = {key: key.replace("2026-11-26", "2026-01-01") for key in (kept, buried, nobodys)}
    held, dead = (
        msgspec.structs.replace(one, dataref=(one.dataref or "").replace("2026-11-26", "2026-01-01"))
        for one in (held, dead)
    )
    for key in (*old.values(), today):
        buckets.put_object(Bucket="eb-media", Key=key, Body=b"payload")
    await waiting(aws, held, dead)
    runtime = LambdaRuntime("eisbach.deploy.aws.handlers.claims.handle", environment(aws, CLAIMS), timeout_s=30)
    try:
        assert runtime.call({"sweep": True}) == {"brought": 0, "swept": 1}
        assert runtime.call({"sweep": True}) == {"brought": 0, "swept": 0}
    finally:
        runtime.close()

    left = {one["Key"] for one in buckets.list_objects_v2(Bucket="eb-media")["Contents"]}
    assert left == {old[kept], old[buried], today}
    versions = buckets.list_object_versions(Bucket="eb-media", Prefix=old[nobodys])["Versions"]
    undo = buckets.get_object(Bucket="eb-media", Key=old[nobodys], VersionId=versions[0]["VersionId"])
    assert undo["Body"].read() == b"payload"


async def test_what_waits_for_a_claim_of_another_region_has_it_here_within_the_hour(
    aws: AwsEmulator, region: Any, buckets: Any
) -> None:
    """S3 copies also that the other region has swept it."""
    held, key = claimed(received(1, 0), "eu-west")
    dead, other = claimed(received(2, 1, bytes=2), "eu-west")
    buckets.put_object(Bucket="eb-copies", Key=key, Body=bytes(received(1, 0).data))
    buckets.put_object(Bucket="eb-copies", Key=other, Body=bytes(received(2, 1, bytes=2).data))
    await waiting(aws, held, dead)
    runtime = LambdaRuntime("eisbach.deploy.aws.handlers.claims.handle", environment(aws, CLAIMS), timeout_s=30)
    try:
        assert runtime.call({"sweep": True}) == {"brought": 2, "swept": 0}
    finally:
        runtime.close()

    assert buckets.get_object(Bucket="eb-media", Key=key)["Body"].read() == bytes(received(1, 0).data)
    assert buckets.get_object(Bucket="eb-media", Key=other)["Body"].read() == bytes(received(2, 1, bytes=2).data)


def test_a_cold_start_in_between_repeats_nothing(spoke: LambdaRuntime, studio: Studio) -> None:
    batch = {"Records": [record(1, received(1, 0)), record(2, READY)]}
    spoke.call(batch)
    spoke._end()
    spoke.call(batch)

    assert (spoke.cold_starts, len(studio.posts)) == (2, 1)


def test_bytes_that_nobody_can_read_become_a_dead_letter_and_hold_up_nobody(
    spoke: LambdaRuntime, studio: Studio, region: Any
) -> None:
    batch = {"Records": [record(1, received(1, 0), body="not json"), record(2, received(1, 0), READY)]}

    assert spoke.call(batch) == {"batchItemFailures": []}
    assert len(studio.posts) == 1
    rows = region("dynamodb").scan(TableName=TABLE)["Items"]
    assert [r["kind"]["S"] for r in rows if r["sk"]["S"].startswith("dead#")] == ["envelope"]


def test_a_command_that_the_studio_cannot_take_waits_and_the_sweep_sends_it(
    spoke: LambdaRuntime, studio: Studio
) -> None:
    studio.status = 503
    assert spoke.call({"Records": [record(1, received(1, 0), READY)]}) == {"batchItemFailures": []}
    assert studio.posts == []

    studio.status = 200
    spoke.call({"sweep": True})
    assert [path for path, _, _ in studio.posts] == [PUBLISH]


def test_a_batch_of_ten_of_one_slot_is_done_in_one_call_and_takes_no_instance_for_another(
    spoke: LambdaRuntime, studio: Studio
) -> None:
    records = []
    for n in range(10):
        first = received(2 * n + 1, max(0, 2 * n - 1), asset=f"a-{n}")
        ready = event(ASSET_READY, 2 * n + 2, 2 * n, {"id": f"a-{n}"})
        records.append(record(n + 1, *(msgspec.structs.replace(one, subject=f"a-{n}") for one in (first, ready))))

    assert spoke.call({"Records": records}) == {"batchItemFailures": []}
    assert len(studio.posts) == 10
    spoke.end()
    assert "another instance" not in "".join(spoke.output)


def test_what_the_table_refuses_is_given_back_to_the_queue(
    spoke: LambdaRuntime, studio: Studio, aws: AwsEmulator
) -> None:
    spoke.call({"Records": []})  # open, so that the fault meets the batch
    aws.fault(REGION, "throttle", service="dynamodb")
    before, spoke.timeout_s = arrived(aws), 6
    failures = spoke.call({"Records": [record(1, received(1, 0), READY)]})["batchItemFailures"]
    tried = arrived(aws) - before
    aws.heal()
    assert tried <= 40, "a storm of retries"  # of one call that tries for four seconds, with growing pauses
    spoke.timeout_s = 30

    assert failures == [{"itemIdentifier": "m-1"}]
    assert studio.posts == []
    assert spoke.call({"Records": [record(1, received(1, 0), READY)]}) == {"batchItemFailures": []}
    assert len(studio.posts) == 1


def arrived(aws: AwsEmulator) -> int:
    return sum(aws.statistics()["doors"][REGION]["calls"].values())


def test_a_secret_that_was_never_written_is_named_without_its_value(spoke: LambdaRuntime, region: Any) -> None:
    region("secretsmanager").put_secret_value(SecretId=SECRET, SecretString='{"jwt_private": "hush-hush"}')

    with pytest.raises(RuntimeError, match="secret eisbach/eu-central/studio holds no key material") as told:
        spoke.call({"Records": [record(1, received(1, 0))]})
    assert "hush-hush" not in str(told.value)


# --- calls -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "dynamodb"])
def store(request: pytest.FixtureRequest, region: Any, tmp_path: Path) -> str:
    """A cell's store: on this machine's disk, or its two tables as the stacks make them."""
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'cell'}"
    for name, kind in (("log", "N"), ("state", "S")):
        region("dynamodb").create_table(
            TableName=f"eisbach-c1-{name}",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": kind},
            ],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
    return "dynamodb"


@pytest.fixture
def cell(aws: AwsEmulator, store: str) -> Iterator[LambdaRuntime]:
    """The handler and the application of AWS."""
    document = cell_document(store=store)
    runtime = LambdaRuntime("eisbach.deploy.aws.handlers.http.handle", environment(aws, document))
    yield runtime
    runtime.close()


def cell_document(**more: Any) -> CellDocument:
    values: dict[str, Any] = {
        "region": "eu-central", "aws_region": REGION, "cell": "c1", "group": "eu/de/main", "studio": False,
        "slot_count": 16, "slots": (0, 16), "log_table": "eisbach-c1-log", "state_table": "eisbach-c1-state",
        "prefix": "eisbach", "secret": SECRET, "address": "https://eu-central.tv.example.org",
        "front": "https://tv.example.org", "twins": {},
        "media": {"eu-central": "https://media-eu-central.tv.example.org"}, "groups": ("eu/de/main",), "residency": "eu",
    }  # fmt: skip
    return CellDocument(**{**values, **more})


def http_api(method: str, path: str, *, body: Any = None, **headers: str) -> dict[str, Any]:
    """Payload format 2.0, as an HTTP API sends it."""
    return {
        "version": "2.0", "routeKey": "ANY /c1/{proxy+}", "rawPath": f"/c1{path}", "rawQueryString": "",
        "headers": {"host": "x", "content-type": "application/json", **headers},
        "requestContext": {"http": {"method": method, "path": f"/c1{path}", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "t"}, "domainName": "x", "stage": "$default"},
        "isBase64Encoded": False, **({"body": json.dumps(body)} if body is not None else {}),
    }  # fmt: skip


def balancer(method: str, path: str, *, body: Any = None, **headers: str) -> dict[str, Any]:
    """As a load balancer sends it."""
    return {
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:x:1:targetgroup/a/b"}},
        "httpMethod": method, "path": path, "queryStringParameters": {}, "isBase64Encoded": False,
        "headers": {"host": "x", "content-type": "application/json", "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https", "x-forwarded-port": "443", **headers},
        "body": json.dumps(body) if body is not None else "",
    }  # fmt: skip


def body_of(answer: dict[str, Any]) -> Any:
    raw = answer["body"]
    return json.loads(base64.b64decode(raw) if answer["isBase64Encoded"] else raw)


@pytest.mark.parametrize("door", [http_api, balancer])
def test_a_viewer_signs_in_and_makes_calls_through_each_door(cell: LambdaRuntime, door: Any) -> None:
    body = {"device_id": "tv-000001", "mkt": "de"}
    first, again = (cell.call(door("POST", "/v1/auth/anonymous", body=body)) for _ in range(2))
    assert first["statusCode"] == 200, first
    told = body_of(first)
    headers = {"authorization": f"Bearer {told['access']}", "eisbach-slot": told["slot"]}
    rails = cell.call(door("GET", "/v1/me/rails", **headers))
    written = cell.call(door("DELETE", "/v1/me/watchlist/t-1", **headers))
    stranger = cell.call(door("GET", "/v1/me/rails", **{"eisbach-slot": told["slot"]}))

    assert body_of(again)["account"] == told["account"]
    assert (rails["statusCode"], body_of(rails)["watchlist"]) == (200, [])
    assert (written["statusCode"], stranger["statusCode"]) == (204, 401)
    assert stranger["isBase64Encoded"] is False


@pytest.mark.parametrize("door", [http_api, balancer])
def test_a_cell_that_cannot_be_opened_answers_503_and_says_why_in_its_log(
    aws: AwsEmulator, region: Any, door: Any
) -> None:
    runtime = LambdaRuntime("eisbach.deploy.aws.handlers.http.handle", environment(aws, cell_document()))
    try:
        answer = runtime.call(door("GET", "/v1/me"))
    finally:
        runtime.close()

    assert (answer["statusCode"], body_of(answer)["code"]) == (503, "unavailable")
    assert "DynamoDB" not in answer["body"]


def test_a_handler_that_cannot_be_imported_is_an_init_error(aws: AwsEmulator) -> None:
    runtime = LambdaRuntime("eisbach.deploy.aws.handlers.nowhere.handle", {})
    try:
        with pytest.raises(RuntimeError, match=r"init error.*ImportModuleError"):
            runtime.call({})
    finally:
        runtime.close()


def test_the_relay_publishes_what_the_cells_log_holds_and_a_second_nudge_nothing(
    cell: LambdaRuntime, aws: AwsEmulator, region: Any, store: str
) -> None:
    told = body_of(cell.call(balancer("POST", "/v1/auth/anonymous", body={"device_id": "tv-000001", "mkt": "de"})))
    cell.close()
    document = cell_document(store=store)
    relay = LambdaRuntime("eisbach.deploy.aws.handlers.relay.handle", environment(aws, document))
    try:
        first, again = relay.call({"Records": [{"eventID": "1"}]}), relay.call({"sweep": True})
    finally:
        relay.close()

    assert (first["events"], again["events"]) == (1, 0)
    kept = region("dynamodb").query(
        TableName="eisbach-hub",
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": "log#eu-central/c1"}},
    )["Items"]
    assert told["account"] in kept[0]["body"]["B"].decode()


def test_a_warm_relay_publishes_what_others_have_written_since_its_last_call(
    cell: LambdaRuntime, aws: AwsEmulator, region: Any, store: str
) -> None:
    """What its sandbox knew is not where the log ends: the cell writes in another process."""
    if store.startswith("sqlite"):
        pytest.skip("a file has one writer")
    relay = LambdaRuntime("eisbach.deploy.aws.handlers.relay.handle", environment(aws, cell_document(store=store)))
    published = []
    try:
        for number in range(4):
            aws.heal(REGION)
            body = {"device_id": f"tv-{number:06}", "mkt": "de"}
            assert cell.call(balancer("POST", "/v1/auth/anonymous", body=body))["statusCode"] == 200
            aws.fault(REGION, "slow", seconds=0.05)  # it looks whether it is done before it has read the log
            published.append(relay.call({"Records": [{"eventID": "1"}]})["events"])
    finally:
        relay.close()

    assert published == [1] * 4
