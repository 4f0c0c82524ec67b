"""What ``status`` and ``why`` say of an evacuation that left slots behind."""

from dataclasses import replace
from typing import Any

from eisbach.deploy.laptop.impact import summarise
from eisbach.deploy.laptop.lost_stores import lost_stores
from eisbach.deploy.laptop.unfinished import unfinished

from .test_impact import about, parts

STALLED = "region eu-west has not asked for its ops lately; nothing was stopped"


def said(action: str, slots: dict[str, str], count: int = 0) -> dict[str, Any]:
    told = {"action": action, "other": "eu-west", "open": count or len(slots), "slots": slots}
    return {"control/eu-central": {"unfinished": told}, "control/eu-west": {"unfinished": {}}, "cell/eu-central/c1": {}}


def test_slots_that_stayed_are_named_with_why_and_with_both_ways_out() -> None:
    (found,) = unfinished(said("evacuate", {"eu/de/main/3": STALLED}))

    assert found.region == "eu-central"
    assert f"is not through, 1 slots: eu/de/main/3 ({STALLED})" in found.sentence
    assert (
        "eisbach regions evacuate eu-central again goes on with these alone once eu-west follows it" in found.sentence
    )
    assert "eisbach regions return eu-central takes back what has left" in found.sentence
    assert found.next == "eisbach regions evacuate eu-central"


def test_of_many_slots_three_are_named_and_the_rest_is_counted() -> None:
    (found,) = unfinished(said("return", {f"eu/de/main/{n}": "behind" for n in range(20)}, 50))

    assert "50 slots" in found.sentence
    assert "eu/de/main/2 (behind) and 47 more; eisbach regions return eu-central again" in found.sentence


def test_an_evacuation_that_was_broken_off_is_said_without_slots() -> None:
    (found,) = unfinished(said("evacuate", {}))

    assert "is under way or was broken off" in found.sentence


def test_status_says_it_behind_who_is_hurt_and_the_next_command_heals_first() -> None:
    open_ends = unfinished(said("evacuate", {"eu/de/main/3": STALLED}))

    well = summarise(parts("regions", 2, {}), replace(about("regions"), unfinished=open_ends))
    cut = summarise(
        parts("regions", 2, {}),
        replace(about("regions"), unfinished=open_ends, beside=[("they are cut", "link/eu-west/eu-central")]),
    )

    assert well.sentence.startswith("Nobody is hurt: all ")
    assert well.sentence.endswith(open_ends[0].sentence)
    assert well.next == "eisbach regions evacuate eu-central"
    assert open_ends[0].sentence in cut.sentence
    assert cut.next == "eisbach heal link/eu-west/eu-central"


def test_slots_whose_last_move_nobody_can_tell_are_named_with_whom_control_waits_for() -> None:
    waits = {f"eu/de/main/{n}": f"whose slot {n} is cannot be known yet: c2 is dead" for n in range(5)}

    (told,) = unfinished({"control/eu-west": {"unknown_moves": waits}, "cell/eu-west/c1": {"unknown_moves": waits}})

    assert told.sentence.startswith("Of 5 slots of eu-west the record of the last move was lost")
    assert "eu/de/main/2 (whose slot 2 is cannot be known yet: c2 is dead) and 2 more" in told.sentence
    assert told.next == "eisbach cells list --region eu-west"


def test_a_lost_store_of_the_spokes_is_told_with_what_is_gone_and_an_older_one_with_what_comes_again() -> None:
    lost = {"at_ms": 0, "why": "it was empty, and the hub knows 7 of its spokes", "empty": True}
    older = {"at_ms": 0, "why": "spokes.db-wal is not the write-ahead log", "empty": False}

    gone, again = lost_stores({"spokes/eu-central": {"store_lost": lost}, "spokes/eu-west": {"store_lost": older}})

    assert gone.sentence.startswith("The store of eu-central's spokes was lost before 1970-01-01 00:00:00 UTC (it was")
    assert "retries, dead letters" in gone.sentence
    assert "docs/backup.md" in gone.sentence
    assert "may have been an older copy of itself at 1970-01-01 00:00:00 UTC (spokes.db-wal is not" in again.sentence
    assert "is handled again" in again.sentence
    (node,) = lost_stores({"single": {"store_lost": lost}})
    assert node.sentence.startswith("The store of the single node's spokes was lost")
    assert (gone.region, again.next) == ("eu-central", "eisbach why spokes/eu-west")


def test_of_many_notices_the_sentence_has_the_worst_and_counts_the_others_which_stand_below() -> None:
    """Four stores that were lost, each told for a day, made it more than 1,000 characters long."""
    why = "it was empty, and the hub knows 7 of its spokes; " + "more of this " * 30
    moves = {f"eu/de/main/{n}": "committed, c2 has it" for n in range(20)}
    regions = ("eu-central", "eu-west")
    figures = {f"spokes/{r}": {"store_lost": {"at_ms": 0, "why": why, "empty": True}} for r in regions}
    figures |= {f"control/{r}": {"store_lost": {"at_ms": 0, "moves": moves, "count": 20}} for r in regions}
    open_ends = [*unfinished(said("evacuate", {"eu/de/main/3": STALLED})), *lost_stores(figures)]

    found = summarise(parts("regions", 2, {}), replace(about("regions"), unfinished=open_ends))

    assert found.who.startswith("Nobody is hurt: all ")
    assert found.sentence == (
        f"{found.who} {open_ends[0].sentence} And 4 more notices, each on a line of its own below."
    )
    assert found.next == "eisbach regions evacuate eu-central"
    assert len(found.sentence) < 1000


def test_a_notice_that_is_long_itself_is_cut_in_the_sentence() -> None:
    slots = {f"eu/de/main/{n}": f"{n} " + "it waits for something " * 30 for n in range(9)}
    (long,) = unfinished(said("evacuate", slots))

    found = summarise(parts("regions", 2, {}), replace(about("regions"), unfinished=[long]))

    assert len(long.sentence) > 600
    assert found.sentence.endswith(" …")
    assert len(found.sentence) < 600
