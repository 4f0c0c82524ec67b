"""The inbox accounts for every event once, whatever order and however often they come."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from eisbach.hub.inbox import ABOVE_MAX, Inbox, Verdict, chain_of
from eisbach.kernel.events import Event
from eisbach.ports.spoke_store import InboxKey, InboxMark, InboxRow
from eisbach.testing.event_log_promises import an_event


def apply_mark(rows: dict[InboxKey, InboxRow], mark: InboxMark) -> None:
    """What the store does with a mark."""
    above = dict(rows.get(mark.key, InboxRow(0, {})).above)
    if mark.above is not None:
        above[mark.above[0]] = mark.above[1]
    rows[mark.key] = InboxRow(mark.watermark, {s: p for s, p in above.items() if s > mark.watermark})


def test_the_first_event_of_a_chain_is_fresh_and_then_seen() -> None:
    inbox = Inbox({})
    before = inbox.judge(an_event(1))

    inbox.account(an_event(1))

    assert [before, inbox.judge(an_event(1))] == [Verdict.fresh, Verdict.seen]


def test_an_event_in_work_is_seen_and_its_successor_has_no_gap() -> None:
    inbox = Inbox({})

    inbox.admit(an_event(1))

    assert [inbox.judge(an_event(1)), inbox.judge(an_event(2))] == [Verdict.seen, Verdict.fresh]


def test_what_follows_an_event_behind_a_gap_is_behind_it_too() -> None:
    inbox = Inbox({})

    inbox.admit(an_event(2), waiting=True)
    before = inbox.judge(an_event(3))
    inbox.admit(an_event(1))
    inbox.admit(an_event(2))

    assert [before, inbox.judge(an_event(2)), inbox.judge(an_event(3))] == [Verdict.gap, Verdict.seen, Verdict.fresh]


def test_after_a_restart_what_follows_a_handled_event_waits_for_what_was_in_work_before_it() -> None:
    """Found by the simulated world (seed 517): 1 was in work, 2 of another subject handled; the hub died, and 3, of 1's
    subject, came again before 1 did.
    """
    rows: dict[InboxKey, InboxRow] = {}
    inbox = Inbox({})
    inbox.admit(an_event(1))
    inbox.admit(an_event(2))
    apply_mark(rows, inbox.account(an_event(2)))
    again = Inbox(rows)

    verdicts = [inbox.judge(an_event(3)), again.judge(an_event(3)), again.judge(an_event(1))]
    again.admit(an_event(1))

    assert verdicts == [Verdict.fresh, Verdict.gap, Verdict.fresh]
    assert again.judge(an_event(3)) is Verdict.fresh


def test_one_that_was_waited_for_long_enough_holds_up_none_of_those_after_it() -> None:
    inbox = Inbox({})
    inbox.admit(an_event(2), waiting=True)
    inbox.admit(an_event(2))  # its patience is at an end
    verdicts = [inbox.judge(an_event(3))]
    inbox.account(an_event(2))

    assert [*verdicts, inbox.judge(an_event(3))] == [Verdict.fresh, Verdict.fresh]


def test_an_event_that_names_itself_or_a_later_one_as_its_predecessor_ends_nothing() -> None:
    key = chain_of(an_event(1))
    inbox = Inbox({key: InboxRow(0, {5: 5, 6: 7, 7: 6})})

    assert [inbox.judge(an_event(8)), inbox.judge(msgspec.structs.replace(an_event(9), prev=5))] == [Verdict.gap] * 2


def test_an_event_whose_predecessor_never_came_is_a_gap() -> None:
    inbox = Inbox({})

    inbox.account(an_event(1))

    assert inbox.judge(an_event(3)) is Verdict.gap


def test_the_first_event_of_an_epoch_is_a_gap_until_the_last_one_before_it_has_begun() -> None:
    """Found by the simulated world: a slot moved, and the broker redelivered the old cell's last envelope late."""
    first = msgspec.structs.replace(an_event(1), epoch=4, after="3:2")
    last, before = (msgspec.structs.replace(an_event(seq), epoch=3) for seq in (2, 1))
    inbox = Inbox({})
    verdicts = [inbox.judge(first)]
    inbox.admit(first, waiting=True)

    for event, waiting in ((last, True), (before, False), (last, False)):
        inbox.admit(event, waiting=waiting)
        verdicts.append(Verdict.fresh if inbox.knows_predecessor(first) else Verdict.gap)

    assert verdicts == [Verdict.gap, Verdict.gap, Verdict.gap, Verdict.fresh]


def test_what_was_accounted_for_in_the_epoch_before_is_known_after_a_restart() -> None:
    rows: dict[InboxKey, InboxRow] = {}
    inbox = Inbox({})
    for seq in (1, 2):
        apply_mark(rows, inbox.account(msgspec.structs.replace(an_event(seq), epoch=3)))

    after = [f"3:{seq}" for seq in (2, 3)]

    first = msgspec.structs.replace(an_event(1), epoch=4)
    verdicts = [Inbox(rows).judge(msgspec.structs.replace(first, after=named)) for named in after]
    assert verdicts == [Verdict.fresh, Verdict.gap]


def in_epoch(epoch: int, seq: int, after: str | None = None) -> Event:
    return msgspec.structs.replace(an_event(seq), epoch=epoch, after=after)


def test_after_a_restart_what_follows_the_first_one_of_an_epoch_waits_for_what_was_in_work_in_the_epoch_before() -> (
    None
):
    """Found by the simulated world (seed 361379): 3:1 was in work, 4:1 of another subject handled after it; the hub
    died, and 4:2, of 3:1's subject, which was held until then, went before 3:1.
    """
    rows: dict[InboxKey, InboxRow] = {}
    inbox = Inbox({})
    inbox.admit(in_epoch(3, 1))
    inbox.admit(in_epoch(4, 1, "3:1"))
    apply_mark(rows, inbox.account(in_epoch(4, 1, "3:1")))
    again = Inbox(rows)

    verdicts = [one.judge(in_epoch(4, 2)) for one in (inbox, again)]
    apply_mark(rows, again.account(in_epoch(3, 1)))

    assert verdicts == [Verdict.fresh, Verdict.gap]
    assert [one.judge(in_epoch(4, 2)) for one in (again, Inbox(rows))] == [Verdict.fresh] * 2
    assert again.account(in_epoch(4, 2)) == InboxMark(chain_of(in_epoch(4, 2)), 2, None)


def test_thousands_of_epochs_that_rest_on_one_event_are_passed_when_it_comes() -> None:
    inbox = Inbox({})
    for epoch in range(2, 3000):
        inbox.account(in_epoch(epoch, 1, f"{epoch - 1}:1"))
    before = inbox.judge(in_epoch(2999, 2))
    inbox.account(in_epoch(1, 1))

    assert [before, inbox.judge(in_epoch(2999, 2))] == [Verdict.gap, Verdict.fresh]


def test_epochs_that_come_after_each_other_in_a_circle_end_nothing() -> None:
    inbox = Inbox({})
    for event in (in_epoch(3, 1, "4:1"), in_epoch(4, 1, "3:1"), in_epoch(5, 1, "5:1")):
        inbox.account(event)

    assert [inbox.judge(in_epoch(epoch, 2)) for epoch in (3, 4, 5)] == [Verdict.gap] * 3


@given(
    order=st.permutations([(epoch, seq) for epoch in (1, 2, 3) for seq in (1, 2, 3)]),
    cuts=st.sets(st.integers(0, 12), max_size=3),
)
def test_any_order_over_epochs_and_restarts_end_in_the_same_watermarks(
    order: list[tuple[int, int]], cuts: set[int]
) -> None:
    """And at no time does an event have no gap unless all before it are accounted for."""
    rows: dict[InboxKey, InboxRow] = {}
    inbox, handled = Inbox({}), set[tuple[int, int]]()
    events = {(e, s): in_epoch(e, s, f"{e - 1}:3" if s == 1 and e > 1 else None) for e, s in order}
    for number, place in enumerate([*order, (3, 3)]):
        if number in cuts:
            inbox = Inbox(rows)
        for other, event in events.items():
            if other not in handled:
                whole = all(earlier in handled for earlier in events if earlier < other)
                assert (inbox.judge(event) is Verdict.fresh) == whole, (place, other)
        if place not in handled:
            handled.add(place)
            apply_mark(rows, inbox.account(events[place]))

    again = Inbox(rows)
    assert [again.judge(in_epoch(epoch, 4)) for epoch in (1, 2, 3)] == [Verdict.fresh] * 3
    assert again.account(in_epoch(3, 4)).watermark == 4


def test_an_event_that_comes_after_its_successor_was_handled_is_still_fresh() -> None:
    inbox = Inbox({})
    inbox.account(an_event(3))

    verdict = inbox.judge(an_event(1))

    assert verdict is Verdict.fresh


def test_a_gap_is_given_up_when_too_much_lies_beyond_it() -> None:
    inbox = Inbox({})
    for seq in range(2, ABOVE_MAX + 3):
        inbox.account(an_event(seq))

    assert inbox.gaps_given_up == 1
    assert inbox.account(an_event(ABOVE_MAX + 3)).watermark == ABOVE_MAX + 3


@given(
    order=st.permutations(list(range(1, 13))), repeats=st.lists(st.integers(1, 12), max_size=8), cut=st.integers(0, 12)
)
def test_any_order_and_a_restart_end_in_the_same_watermark(order: list[int], repeats: list[int], cut: int) -> None:
    rows: dict[InboxKey, InboxRow] = {}
    inbox, handled = Inbox({}), []
    for place, seq in enumerate([*order, *repeats]):
        if place == cut:
            inbox = Inbox(rows)
        if inbox.judge(an_event(seq)) is not Verdict.seen:
            handled.append(seq)
            apply_mark(rows, inbox.account(an_event(seq)))

    assert sorted(handled) == list(range(1, 13))
    assert rows[chain_of(an_event(1))] == InboxRow(12, {})
