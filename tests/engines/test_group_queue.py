"""The queue before a store's one writer, without a store: bounds, order, one answer each."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from eisbach.kernel.errors import Overloaded
from eisbach.kernel.limits import WRITER_QUEUE_MAX
from eisbach.ports.group_queue import GroupQueue


class Work:
    def __init__(self, *, limited: bool = False) -> None:
        self.limited, self.since_ms = limited, 0
        self.future: Future[Any] = Future()


def queue_of(*works: Work) -> GroupQueue[Work]:
    queue: GroupQueue[Work] = GroupQueue("the disk")
    for work in works:
        queue.put(work, 0, work.future)
    return queue


def at_most(count: int) -> Callable[[Work], bool]:
    left = iter(range(count))
    return lambda _: next(left, None) is not None


def test_works_are_taken_in_order_as_far_as_there_is_room() -> None:
    works = [Work() for _ in range(5)]
    queue = queue_of(*works)

    assert queue.next_group(0, at_most(3)) == works[:3]
    assert queue.next_group(0, at_most(3)) == works[3:]
    assert len(queue) == 0


def test_only_a_limited_work_is_refused_for_having_waited_and_takes_no_room() -> None:
    old, lease = Work(limited=True), Work()
    queue = queue_of(old, lease)

    assert queue.next_group(51, at_most(1)) == [lease]
    with pytest.raises(Overloaded, match="waited 51 ms for the disk, at most 50"):
        old.future.result(0)
    assert queue.refused == 1


def test_over_the_bound_nobody_waits() -> None:
    queue = queue_of(*(Work() for _ in range(WRITER_QUEUE_MAX)))

    with pytest.raises(Overloaded, match="writes wait for the disk"):
        queue.put(Work(), 0, Future())
    assert (len(queue), queue.refused) == (WRITER_QUEUE_MAX, 1)


def test_a_caller_that_has_gone_away_is_passed_over() -> None:
    gone, there = Work(), Work()
    queue = queue_of(gone, there)
    gone.future.cancel()

    queue.answer(queue.next_group(0, at_most(2)), ["lost", "told"])

    assert there.future.result(0) == "told"
