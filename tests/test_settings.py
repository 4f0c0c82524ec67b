"""Settings are parsed strictly: a slip is an error that names the nearest right word."""

from pathlib import Path

import pytest

from eisbach.kernel.errors import Invalid
from eisbach.settings import Settings, load_settings


def test_defaults_need_no_file() -> None:
    assert load_settings(None, {}) == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "eisbach.toml"
    file.write_text('slots = 8\nnetwork = "127.0.61"\n')

    settings = load_settings(file, {"EISBACH_SLOTS": "16", "PATH": "/bin"})

    assert (settings.slots, settings.network) == (16, "127.0.61")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slot = 8", "'slot' is not a setting; did you mean 'slots'?"),
        ("slots = 0", "slots is 0; use 1 to 9999"),
        ('slots = "many"', "slots"),
        ("slots = [", "eisbach.toml"),
    ],
)
def test_a_wrong_file_is_refused_with_what_to_do(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "eisbach.toml"
    file.write_text(text)

    with pytest.raises(Invalid) as refused:
        load_settings(file, {})

    assert said in str(refused.value)


def test_a_missing_file_that_was_asked_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"nowhere\.toml"):
        load_settings(tmp_path / "nowhere.toml", {})
