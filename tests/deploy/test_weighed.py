"""A region whose weight does not follow its state is told: half of the capacity got nobody, and nobody said so."""

from typing import Any

from eisbach.deploy.laptop.weighed import weighed_wrongly

BOTH: dict[str, dict[str, Any]] = {"control/eu-central": {"unfinished": {}}, "control/eu-west": {"unfinished": {}}}


def test_weights_that_follow_the_regions_state_are_not_spoken_of() -> None:
    assert weighed_wrongly({"eu-central": 100, "eu-west": 100}, BOTH, out=()) == []
    assert weighed_wrongly({"eu-central": 100, "eu-west": 0}, BOTH, out=["eu-west"]) == []
    assert weighed_wrongly({}, BOTH, out=["eu-west"]) == [], "a stage without a front"


def test_a_region_that_serves_and_gets_nobody_is_told_with_the_way_back() -> None:
    (found,) = weighed_wrongly({"eu-central": 100, "eu-west": 0}, BOTH, out=())

    assert found.sentence.startswith("The front sends nobody to eu-west (weight 0), though it serves")
    assert found.next == "eisbach regions return eu-west"


def test_a_region_that_is_out_and_gets_viewers_is_told() -> None:
    (found,) = weighed_wrongly({"eu-central": 40, "eu-west": 100}, BOTH, out=["eu-central"])

    assert "to eu-central (weight 40), which is out" in found.sentence
    assert found.next == "eisbach regions evacuate eu-central"


def test_what_is_not_through_speaks_for_itself() -> None:
    open_ = {**BOTH, "control/eu-central": {"unfinished": {"action": "return"}}}

    assert weighed_wrongly({"eu-central": 0, "eu-west": 100}, open_, out=()) == []


def test_a_notice_of_a_lost_store_hides_no_weight() -> None:
    """Such a notice stands for a day."""
    lost = {**BOTH, "control/eu-west": {"unfinished": {}, "store_lost": {"at_ms": 0}}}

    assert [one.region for one in weighed_wrongly({"eu-central": 100, "eu-west": 0}, lost, out=())] == ["eu-west"]


def test_a_region_that_was_evacuated_and_switched_off_is_not_said_to_serve() -> None:
    """Neither its control nor its cells answer, so nobody says that it is out."""
    answers = {"control/eu-central": BOTH["control/eu-central"]}

    assert weighed_wrongly({"eu-central": 100, "eu-west": 0}, answers, out=()) == []
