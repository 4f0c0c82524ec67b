"""The route table's tree, held to what Starlette's own router finds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match, Route

from eisbach.cell.dispatch import Table

TEMPLATES = (
    "/v1/me", "/v1/me/rails", "/v1/me/progress/{title}", "/v1/{mkt}/channels", "/v1/{mkt}/titles/{title}",
    "/v1/{mkt}/{tier}/{plat}/config", "/v1/playback/sessions", "/v1/playback/sessions/{sid}",
    "/v1/playback/sessions/{sid}/heartbeat", "/studio/jobs:lease", "/steer",
)  # fmt: skip


def table() -> Table[str]:
    found: Table[str] = Table()
    for template in TEMPLATES:
        found.add("GET", template, template)
    return found


words = st.sampled_from(
    ["v1", "me", "rails", "progress", "de", "channels", "titles", "x", "", "config", "playback", "sessions", "steer"]
)


@given(st.lists(words, max_size=6))
def test_it_finds_what_starlette_finds(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    wanted = None
    for template in TEMPLATES:
        match, scope = Route(template, lambda _: None).matches({"type": "http", "path": path, "method": "GET"})
        if match is Match.FULL:
            wanted = (template, scope["path_params"])
            break

    assert table().find("GET", path) == wanted


def test_a_path_of_another_method_is_no_call_but_is_known() -> None:
    found = table()
    found.add("PUT", "/v1/me/progress/{title}", "put")

    assert found.find("DELETE", "/v1/me/progress/t") is None
    assert found.methods("/v1/me/progress/t") == ["GET", "HEAD", "PUT"]
    assert found.methods("/v1/none") == []


def test_a_literal_comes_before_a_parameter_and_a_wrong_turn_is_taken_back() -> None:
    found: Table[str] = Table()
    found.add("GET", "/a/{x}/c", "parameter")
    found.add("GET", "/a/b", "literal")

    assert found.find("GET", "/a/b/c") == ("parameter", {"x": "b"})
    assert found.find("GET", "/a/b") == ("literal", {})


def test_a_literal_hides_its_parameter_for_every_method() -> None:
    found: Table[str] = Table()
    found.add("PUT", "/a/{x}", "parameter")
    found.add("GET", "/a/b", "literal")

    assert found.find("PUT", "/a/c") == ("parameter", {"x": "c"})
    assert found.find("PUT", "/a/b") is None
    assert found.find("PUT", "/a/") is None


@pytest.mark.parametrize("template", ["/a/{x", "/a/{x:path}", "/a/{}"])
def test_a_template_that_is_none_is_refused_at_start(template: str) -> None:
    with pytest.raises(ValueError, match="is not a parameter"):
        table().add("GET", template, "")


def test_a_route_twice_is_refused_at_start() -> None:
    with pytest.raises(ValueError, match="already"):
        table().add("GET", "/v1/me", "")
