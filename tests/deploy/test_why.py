"""What ``eisbach why`` shows of a log."""

from eisbach.deploy.laptop.logs import distinct


def test_a_process_that_says_the_same_at_every_start_is_quoted_once_with_the_last_of_it() -> None:
    lines = ["10:00:01 listening", "10:00:02 the file /data/store.db is missing", "", "10:00:03 listening",
             "10:00:04 the file /data/store.db is missing"]  # fmt: skip

    assert distinct(lines) == ["10:00:03 listening", "10:00:04 the file /data/store.db is missing"]
    assert distinct(["a", "b", "a"]) == ["b", "a"]
