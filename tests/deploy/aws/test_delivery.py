"""The CDN's media function, run by a real node: it opens what the Python verifier opens, and nothing else."""

import fnmatch
import json
import random
import re
import string
from pathlib import Path
from typing import Any

import pytest
from tests.edge.hostile_tokens import FAR, GOOD, HOSTILE, KEYS, KEYS_HEX, NOW, SCOPE, SECOND, UNSPELLABLE

from eisbach.deploy.aws.platform_file import Platform
from eisbach.deploy.aws.stacks.delivery import LIVE_PATHS, MANIFEST_PATHS, delivery_code
from eisbach.kernel.errors import Denied
from eisbach.kernel.tokens import mint_media_token, pass_scope, verify_media_token

from .cdn import MediaHost, get

FILE = "v720/1.m4s"


@pytest.fixture
def host(example: Platform, tmp_path: Path) -> MediaHost:
    return MediaHost(example, example.region[0], tmp_path)


def segment(token: str, scope: str = SCOPE) -> dict[str, Any]:
    return get(f"/t/{token}/vod/{scope}/{FILE}")


def code_of(answer: dict[str, Any]) -> str:
    """Of the refusal; ok: it goes on to the bucket."""
    return "ok" if "uri" in answer else json.loads(answer["body"]["data"])["code"]


def python_says(token: str, scope: str, now: int) -> str:
    try:
        return "ok" if verify_media_token(KEYS, token, now=now).scope == scope else "token_scope"
    except Denied as error:
        return error.code


@pytest.mark.parametrize("token", [GOOD, SECOND])
def test_a_good_token_opens_a_segment_and_no_token_is_in_what_the_cache_sees(host: MediaHost, token: str) -> None:
    asked = get(f"/t/{token}/vod/{SCOPE}/{FILE}", query="cachebuster", eisbach_cell="studio")
    (onward,) = host.ask([asked], keys=KEYS_HEX, now=NOW)

    assert onward["uri"] == f"/media/vod/{SCOPE}/{FILE}"
    assert onward["querystring"] == {}
    assert "eisbach-cell" not in onward["headers"]
    assert token not in json.dumps(onward)


def test_every_hostile_token_is_refused_for_the_reason_that_the_verifier_gives(host: MediaHost) -> None:
    tokens = [token for token, _ in HOSTILE]
    answers = host.ask([segment(token) for token in tokens], keys=KEYS_HEX, now=NOW)

    assert [(t, code_of(a)) for t, a in zip(tokens, answers, strict=True)] == HOSTILE
    assert {a["statusCode"] for a in answers} == {403}


def test_no_other_spelling_of_a_good_token_opens_anything(host: MediaHost) -> None:
    answers = host.ask([segment(form) for form in UNSPELLABLE], keys=KEYS_HEX, now=NOW)

    assert [form for form, a in zip(UNSPELLABLE, answers, strict=True) if "uri" in a] == []


def test_the_function_and_the_verifier_agree_on_thousands_of_good_expired_altered_and_misplaced_tokens(
    host: MediaHost,
) -> None:
    dice = random.Random(5)
    alphabet = string.ascii_letters + string.digits + "._-~@="
    cases: list[tuple[str, str]] = []
    for _ in range(3_000):
        kid = dice.choice(["m1", "m2", "m3"])
        expiry = NOW + dice.choice([-86_400, -1, 0, 1, 3_600])
        scope = dice.choice([SCOPE, "asset-2", "a", "x" * 64])
        token = mint_media_token(KEYS.get(kid, b"\x09" * 32), kid=kid, expiry=expiry, scope=scope)
        for _ in range(dice.choice([0, 0, 1, 2])):
            at = dice.randrange(len(token))
            token = dice.choice(
                [token[:at] + dice.choice(alphabet) + token[at + 1 :], token[:at] + token[at + 1 :], token[:at] + dice.choice(alphabet) + token[at:]]
            )  # fmt: skip
        cases.append((token, dice.choice([scope, scope, SCOPE])))
    answers = host.ask([segment(*case) for case in cases], keys=KEYS_HEX, now=NOW)
    wanted = [python_says(token, scope, NOW) for token, scope in cases]

    assert [code_of(a) for a in answers] == wanted
    assert {*wanted} == {"ok", "token_malformed", "token_key", "token_signature", "token_expired", "token_scope"}


@pytest.mark.parametrize(
    ("path", "goes_to"),
    [
        (f"vod/{SCOPE}/v720.m3u8", f"/media/vod/{SCOPE}/v720.m3u8"),
        (f"vod/{SCOPE}/a-de/init.mp4", f"/media/vod/{SCOPE}/a-de/init.mp4"),
        (f"vod/{SCOPE}/t-de.vtt", f"/media/vod/{SCOPE}/t-de.vtt"),
        (f"vod/{SCOPE}/img/poster.jpg", f"/media/vod/{SCOPE}/img/poster.jpg"),
        (f"vod/{SCOPE}/files.json", 404),
        (f"vod/{SCOPE}/", 404),
        (f"vod/{SCOPE}/v720/0.m4s", 404),
        (f"vod/{SCOPE}/v720/..%2f1.m4s", 404),
        (f"vod/{SCOPE}/../other/v720/1.m4s", 404),
        (f"vod/{SCOPE}//v720/1.m4s", 404),
        (f"vod/{SCOPE}/v720/master.m3u8", 404),
        ("vod/other/v720/1.m4s", 403),
        (f"work/{SCOPE}/v720/1.m4s", 403),
        (f"ch/{SCOPE}/v720/1.m4s", 404),
        (f"ch/{SCOPE}/{SCOPE}/v720.m3u8", 404),
        (f"ch/{SCOPE}/{SCOPE}/img/poster.jpg", 404),
    ],
)
def test_a_token_opens_what_the_packager_wrote_of_its_asset(host: MediaHost, path: str, goes_to: str | int) -> None:
    (answer,) = host.ask([get(f"/t/{GOOD}/{path}")], keys=KEYS_HEX, now=NOW)

    assert answer.get("uri", answer.get("statusCode")) == goes_to


def test_images_need_no_token_and_nothing_else_is_had_without_one(host: MediaHost) -> None:
    image, listing, upload, bare = host.ask(
        [get(f"/img/{SCOPE}/sprite.jpg"), get("/"), get("/uploads/u-1"), get(f"/media/vod/{SCOPE}/{FILE}")],
        keys=None,
        now=NOW,
    )

    assert image["uri"] == f"/media/vod/{SCOPE}/img/sprite.jpg"
    assert [listing["statusCode"], upload["statusCode"], bare["statusCode"]] == [404, 404, 404]


@pytest.mark.parametrize("keys", [None, {}])
def test_keys_that_cannot_be_read_open_nothing(host: MediaHost, keys: dict[str, str] | None) -> None:
    (answer,) = host.ask([segment(GOOD)], keys=keys, now=NOW)

    assert (answer["statusCode"], code_of(answer)) == ((503, "unavailable") if keys is None else (403, "token_key"))


def test_a_manifest_is_asked_of_a_cell_with_the_token_and_a_behaviour_takes_it_there(
    example: Platform, host: MediaHost
) -> None:
    assets = [f"asset-{n}" for n in range(40)]
    uris = {
        a: f"/t/{mint_media_token(KEYS['m1'], kid='m1', expiry=FAR, scope=a)}/vod/{a}/{name}"
        for a, name in zip(assets, ["master.m3u8", "manifest.mpd"] * 20, strict=True)
    }
    answers = host.ask([get(uri, eisbach_cell="studio") for uri in uris.values()], keys=KEYS_HEX, now=NOW)

    for (asset, uri), answer in zip(uris.items(), answers, strict=True):
        assert answer["uri"] == f"/manifests/vod/{asset}/{uri.rpartition('/')[2]}"
        assert answer["querystring"] == {"t": {"value": uri.split("/")[2]}}
        assert any(fnmatch.fnmatchcase(uri, pattern) for pattern in MANIFEST_PATHS), "else a bucket is asked"
    assert {a["headers"]["eisbach-cell"]["value"] for a in answers} == {"c1", "c2"}, "no cell has all of them"


def passed(channel: str, asset: str, *, expiry: int = FAR, key: bytes = KEYS["m1"]) -> str:
    return mint_media_token(key, kid="m1", expiry=expiry, scope=pass_scope(channel, asset))


def part(pass_: str | None, asset: str = "film", channel: str = SCOPE) -> dict[str, Any]:
    """A request for a segment of a channel, with the token of ``SCOPE``."""
    asked = get(f"/t/{GOOD}/ch/{channel}/{asset}/v720/7.m4s")
    return asked if pass_ is None else {**asked, "querystring": {"m": {"value": pass_}}}


def test_a_channels_token_and_a_cells_pass_open_a_segment_of_a_title_and_neither_is_in_what_the_cache_sees(
    host: MediaHost,
) -> None:
    good = passed(SCOPE, "film")
    first, head = host.ask(
        [part(good), {**part(good), "uri": f"/t/{GOOD}/ch/{SCOPE}/film/v720/init.mp4"}], keys=KEYS_HEX, now=NOW
    )

    assert (first["uri"], head["uri"]) == ("/media/vod/film/v720/7.m4s", "/media/vod/film/v720/init.mp4")
    assert first["querystring"] == {}
    assert GOOD not in json.dumps(first)
    assert good not in json.dumps(first)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (part(None), "token_malformed"),
        (part("m1"), "token_malformed"),
        (part(passed(SCOPE, "other")), "token_scope"),
        (part(passed("other", "film")), "token_scope"),
        (part(passed(SCOPE, "film", expiry=NOW - 1)), "token_expired"),
        (part(passed(SCOPE, "film", key=bytes(32))), "token_signature"),
        (part(GOOD), "token_scope"),
        (part(passed("other", "film"), channel="other"), "token_scope"),
    ],
)
def test_without_a_cells_pass_for_this_channel_and_title_a_channels_token_opens_nothing(
    host: MediaHost, asked: dict[str, Any], code: str
) -> None:
    (answer,) = host.ask([asked], keys=KEYS_HEX, now=NOW)

    assert (answer.get("statusCode"), code_of(answer)) == (403, code)


def test_a_pass_opens_no_title_by_itself(host: MediaHost) -> None:
    (answer,) = host.ask([get(f"/t/{passed(SCOPE, 'film')}/vod/film/{FILE}")], keys=KEYS_HEX, now=NOW)

    assert (answer["statusCode"], code_of(answer)) == (403, "token_scope")


def test_a_live_playlist_is_asked_of_a_cell_without_the_token_by_the_one_behaviour_that_caches_it(
    host: MediaHost,
) -> None:
    uris = [f"/t/{GOOD}/ch/{SCOPE}/{name}" for name in ("v720.m3u8", "master.m3u8", "manifest.mpd")]
    live, master, dash = host.ask([get(uri) for uri in uris], keys=KEYS_HEX, now=NOW)

    assert (live["uri"], live["querystring"]) == (f"/manifests/ch/{SCOPE}/v720.m3u8", {})
    assert GOOD not in json.dumps(live)
    assert (master["uri"], dash["uri"]) == tuple(f"/manifests/ch/{SCOPE}/{n}" for n in ("master.m3u8", "manifest.mpd"))
    assert [a["querystring"] for a in (master, dash)] == [{"t": {"value": GOOD}}] * 2
    for uri, places in zip(uris, (LIVE_PATHS, MANIFEST_PATHS, MANIFEST_PATHS), strict=True):
        first = next(p for p in (*MANIFEST_PATHS, *LIVE_PATHS) if fnmatch.fnmatchcase(uri, p))
        assert first in places, "CloudFront takes the first behaviour that fits"


def test_a_file_is_never_asked_of_a_cell_nor_a_manifest_of_a_bucket(host: MediaHost) -> None:
    """CloudFront chooses the origin by the viewer's path, before the function runs."""
    refused = get(f"/t/{GOOD}/vod/{SCOPE}/v720/manifest.mpd")
    (answer,) = host.ask([refused], keys=KEYS_HEX, now=NOW)
    served = [f"/t/{GOOD}/vod/{SCOPE}/{name}" for name in ("v720.m3u8", FILE, "img/poster.jpg", "t-de.vtt")]

    assert answer["statusCode"] == 404
    served.append(f"/t/{GOOD}/ch/{SCOPE}/film/v720/1.m4s")
    assert [uri for uri in served if any(fnmatch.fnmatchcase(uri, p) for p in (*MANIFEST_PATHS, *LIVE_PATHS))] == []


def test_other_methods_are_refused_and_a_preflight_is_answered(host: MediaHost) -> None:
    put, head, preflight = host.ask(
        [{**segment(GOOD), "method": m} for m in ("PUT", "HEAD", "OPTIONS")], keys=KEYS_HEX, now=NOW
    )

    assert (put["statusCode"], code_of(head), preflight["statusCode"]) == (405, "ok", 204)
    assert preflight["headers"]["access-control-allow-origin"] == {"value": "*"}


def test_the_function_fits_and_uses_what_cloudfronts_runtime_has(example: Platform) -> None:
    """10 KB; the modules and statements of JavaScript runtime 2.0."""
    code = delivery_code(example, example.region[0])

    assert len(code.encode()) <= 10_240
    assert re.findall(r"^import (\w+) from '(\w+)';", code, re.MULTILINE) == [
        ("cf", "cloudfront"),
        ("crypto", "crypto"),
    ]
    assert "__" not in code
    assert re.search(r"\b(class|fetch|setTimeout|eval|for \(const|process)\b", code) is None
