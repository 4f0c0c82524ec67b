"""The cell's own limit: the least important goes first, critical calls last, and all of it comes back (P13, P18)."""

import asyncio
import random
import time
from collections import Counter

import pytest

from eisbach.cell.adaptive_limit import LEAST, PRESSURE_MAX, AdaptiveLimit
from eisbach.cell.app import Gate, cell_app
from eisbach.cell.metrics import Metrics
from eisbach.cell.routes import Answer, Call, Importance, Route
from eisbach.testing.asgi_client import AsgiClient

CLASSES: tuple[Importance, ...] = ("critical", "degraded", "best_effort", "bulk")


def windows(limit: AdaptiveLimit, count: int, *, delay_s: float, start: float = 1.0, in_work: int = 1) -> float:
    now = start
    for _ in range(count):
        limit.admits("critical", in_work=in_work)
        now += 0.11
        limit.observe(delay_s, now=now)
    return now


def taken(limit: AdaptiveLimit, importance: Importance, *, calls: int = 100) -> int:
    return sum(limit.admits(importance, in_work=1) for _ in range(calls))


def test_a_loop_that_is_late_refuses_class_after_class_and_never_a_critical_call() -> None:
    limit = AdaptiveLimit(lambda: 0.0)
    order, now = [], 1.0
    for _ in range(20):
        now = windows(limit, 1, delay_s=0.05, start=now)
        order.append(tuple(taken(limit, one) for one in CLASSES))

    assert order[1] == (100, 100, 100, 50), "half of bulk after two late windows"
    assert order[3] == (100, 100, 100, 0)
    assert order[7] == (100, 100, 0, 0)
    assert order[11] == order[-1] == (100, 0, 0, 0)
    assert limit.pressure == PRESSURE_MAX
    assert limit.statistics().shed["critical"] == 0


def test_what_was_refused_is_taken_again_when_the_loop_is_in_time_the_most_important_first() -> None:
    limit = AdaptiveLimit(lambda: 0.0)
    now = windows(limit, 20, delay_s=0.05)

    now = windows(limit, 34, delay_s=0.001, start=now)
    assert taken(limit, "degraded") == 100
    assert taken(limit, "bulk") == 0
    windows(limit, 67, delay_s=0.001, start=now)

    assert limit.pressure == 0
    assert [taken(limit, one) for one in CLASSES] == [100] * 4


def test_the_limit_of_calls_in_work_falls_fast_grows_slowly_and_keeps_its_bounds() -> None:
    limit = AdaptiveLimit(lambda: 0.0)
    assert limit.value == 400
    now = windows(limit, 9, delay_s=0.05)
    assert limit.value == LEAST
    assert not limit.admits("critical", in_work=LEAST + 1)
    assert limit.admits("critical", in_work=LEAST)
    assert not limit.admits("degraded", in_work=LEAST)

    now = windows(limit, 1, delay_s=0.05, start=now)
    now = windows(limit, 50, delay_s=0.001, start=now, in_work=10)
    assert limit.value == LEAST, "what is not used does not grow"
    now = windows(limit, 50, delay_s=0.001, start=now, in_work=60)
    assert 64 < limit.value < 400
    windows(limit, 200, delay_s=0.001, start=now, in_work=400)
    assert limit.value == 400


def test_while_the_loop_is_late_every_window_counts_before_the_measurement_has_ended() -> None:
    spent = [0.0]
    limit = AdaptiveLimit(lambda: spent[0])
    assert limit.begin(1.0)
    for window in range(1, 11):
        spent[0] += 0.11
        assert not limit.begin(1.0 + window * 0.11), "one measurement at a time"
    pressed = limit.pressure
    limit.end(2.15)

    assert pressed == 2.5
    assert limit.pressure <= 2.75
    assert not limit.begin(2.155), "not more often than every 10 ms"
    assert limit.begin(2.17)


def test_a_loop_that_is_late_because_others_have_the_core_refuses_nothing() -> None:
    limit = AdaptiveLimit(lambda: 5.0)
    for turn in range(50):
        assert limit.begin(turn)
        limit.end(turn + 0.5)

    assert limit.pressure == 0
    assert limit.statistics().delay_ms == 0


def test_one_late_measurement_among_many_changes_nothing() -> None:
    limit = AdaptiveLimit(lambda: 0.0)
    limit.observe(0.0, now=1.0)
    for _ in range(20):
        limit.observe(0.001, now=1.01)
    limit.observe(0.150, now=1.2)

    assert limit.statistics().delay_ms < 20
    assert limit.pressure == 0


@pytest.mark.timeout(60)
async def test_under_three_times_the_load_it_can_bear_critical_calls_are_answered_and_the_others_make_room() -> None:
    """Open loop, on a real event loop: handlers burn a millisecond each, three arrive in it."""

    async def burn(_call: Call) -> Answer:
        until = time.thread_time() + 0.001
        while time.thread_time() < until:
            pass
        return Answer(200)

    routes = [
        Route(method="GET", path=f"/{one}", handler=burn, importance=one, summary="x", caller="anyone")
        for one in CLASSES
    ]
    gate = Gate(
        cell="c1", region="eu-central", tokens=None, ownership=None, positions=None, bearers={},  # type: ignore[arg-type]
        metrics=Metrics(), rng=random.Random(1), limit=AdaptiveLimit(time.thread_time),
    )  # fmt: skip
    client = AsgiClient(cell_app(routes, gate))
    answers: Counter[tuple[str, int]] = Counter()

    async def call(importance: Importance) -> None:
        answers[importance, (await client.send("GET", f"/{importance}")).status] += 1

    dice, loop = random.Random(2), asyncio.get_running_loop()
    began, calls = loop.time(), []
    while len(calls) < 6000:
        due = min(6000, int((loop.time() - began) * 3000) + 1)
        arrived = dice.choices(CLASSES, (1, 3, 3, 3), k=due - len(calls))
        calls += [asyncio.create_task(call(importance)) for importance in arrived]
        await asyncio.sleep(0.001)
    await asyncio.gather(*calls)

    served = {one: answers[one, 200] / (answers[one, 200] + answers[one, 503]) for one in CLASSES}
    print(served, gate.limit.statistics())
    assert served["critical"] >= 0.99
    assert served["bulk"] <= served["best_effort"] <= served["degraded"] <= served["critical"]
    assert served["bulk"] < 0.6
    assert set(answers) <= {(one, status) for one in CLASSES for status in (200, 503)}
