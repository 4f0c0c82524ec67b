"""What the studio's documents mean to people's tools."""

import msgspec

from eisbach.deploy.laptop.studio import is_published
from eisbach.domain.catalog import Title


def as_the_studio_sends_it(state: str) -> dict[str, object]:
    title = Title(id="t", revision=1, names={"en": "T"}, state=state)
    return msgspec.json.decode(msgspec.json.encode(title))


def test_a_draft_is_sent_without_its_state_and_is_not_published() -> None:
    draft = as_the_studio_sends_it("draft")

    assert "state" not in draft
    assert not is_published(draft)
    assert is_published(as_the_studio_sends_it("published"))
