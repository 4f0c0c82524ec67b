"""``platform.toml``: strict, and every error names what to mend."""

from pathlib import Path

import pytest

from eisbach.deploy.aws.platform_file import load_platform
from eisbach.kernel.errors import Invalid

EXAMPLE = Path(__file__).parents[3] / "examples" / "aws" / "platform.toml"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('account = "111122223333"', 'account = "1111"', "account"),
        ('name = "c2"', 'name = "c1"', "cell 'c1' is there twice"),
        ('group = "any/all/studio"', 'group = "eu/de/main"', "one cell of group any/all/studio"),
        ('group = "eu/de/main"', 'group = "us/us/main"', "no region has its residency"),
        ('group = "eu/de/main"', 'group = "main"', "is not 'residency/market/cohort'"),
        ('"eu-west-1a", ', '"eu-north-1a", ', "zone 'eu-north-1a' is not of eu-west-1"),
        ("acm:us-east-1", "acm:eu-west-1", "a CDN takes it from us-east-1 only"),
        ("acm:eu-west-1:", "acm:eu-north-1:", "the certificate of 'eu-west' is in eu-north-1"),
        ('door = "alb"', 'door = "window"', "window"),
        ("eisbach:0.1.0", "eisbach", "must be an image with tag or digest"),
        ("budget_usd = 500", "budget = 500", "budget"),
        ("slots = 1024", "slots = 99999", "slots"),
        ('name = "eisbach"', "name = [", "TOML|Invalid"),
        (
            'name = "c2"',
            'capacity = { write_least = 9, write_most = 8, read_least = 1, read_most = 2 }\nname = "c2"',
            "cell 'c2': capacity.write_least is above write_most",
        ),
        (
            'account = "111122223333"',
            'account = "111122223333"\nhub_capacity = { write_least = 9, write_most = 9, read_least = 3, read_most = 2 }',
            "hub_capacity.read_least is above read_most",
        ),
        (
            'name = "c2"',
            'capacity = { write_least = 1, write_most = 50000, read_least = 1, read_most = 2 }\nname = "c2"',
            "40000",
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = EXAMPLE.read_text()
    assert old in text
    path = tmp_path / "platform.toml"
    path.write_text(text.replace(old, new))

    with pytest.raises(Invalid, match=says) as told:
        load_platform(path)
    assert str(path) in str(told.value)


def test_cells_share_a_groups_slots_without_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "platform.toml"
    path.write_text(EXAMPLE.read_text().replace('name = "c2"\ngroup = "eu/de/main"\nshare = 1', 'name = "c2"\ngroup = "eu/de/main"\nshare = 2'))  # fmt: skip
    platform = load_platform(path)
    one, two, _ = platform.cell

    assert (platform.slots_of(one), platform.slots_of(two)) == (range(341), range(341, 1024))
