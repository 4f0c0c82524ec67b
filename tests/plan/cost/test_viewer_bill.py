"""The bill of a viewer-hour: every counted thing is on it once, and nothing else."""

from collections import Counter

import pytest
from bench.viewer_bill import Counted, bill, breakdown, lcu_hours, usage_between

from eisbach.plan.cost.prices import load_prices


def counted(**more: object) -> Counted:
    given: dict[str, object] = {
        "viewer_hours": 2.0, "viewers": 4, "requests": 300, "joins": 5, "bytes_in": 10**6, "bytes_out": 2 * 10**6,
        "bytes_between": 5 * 10**5, "write_units": 100.0, "replicated_units": 40.0, "read_units": 50.0,
        "calls": Counter({"sns.Publish": 7, "sqs.ReceiveMessage": 3, "sqs.DeleteMessageBatch": 1}), "task_cpu_s": 2.0,
        "lambda_calls": 310, "lambda_gb_s": 1.5,
    }  # fmt: skip
    return Counted(**{**given, **more})  # type: ignore[arg-type]


def test_behind_a_balancer_tasks_are_billed_twice_their_processor_and_no_function() -> None:
    found = bill(counted(), load_prices(), door="alb")

    assert found["DynamoDB, writes"] == pytest.approx(100 * 0.7625e-6 / 2)
    assert found["DynamoDB, writes replicated"] == pytest.approx(40 * 0.7625e-6 / 2)
    assert found["DynamoDB, log forgotten"] == pytest.approx(2 * 40 * 0.7625e-6 / 2)
    assert found["SQS, requests"] == pytest.approx(4 * 0.4e-6 / 2)
    assert found["Fargate, ARM"] == pytest.approx(2.0 / 0.5 / 3600 * (0.03725 + 2 * 0.00409) / 2)
    assert not [name for name in found if "Lambda" in name or "HTTP API" in name]


def test_behind_an_http_api_calls_and_time_of_functions_are_billed_and_no_task() -> None:
    found = bill(counted(), load_prices(), door="http-api")

    assert found["HTTP API, requests"] == pytest.approx(300 * 1.2e-6 / 2)
    assert found["Lambda, requests"] == pytest.approx(310 * 0.2e-6 / 2)
    assert found["Lambda, ARM, time"] == pytest.approx(1.5 * 0.0000133334 / 2)
    assert not [name for name in found if "Fargate" in name or "ALB" in name]


@pytest.mark.parametrize(
    ("more", "hours"),
    [
        ({"viewers": 6000, "viewer_hours": 6000.0}, 2.0),
        ({"joins": 3600 * 25 * 3}, 3.0),
        ({"bytes_in": 4 * 10**9, "bytes_out": 0}, 4.0),
        ({"requests": 3600 * 1000 * 5}, 5.0),
    ],
)
def test_of_the_four_measures_of_a_balancer_the_largest_is_billed(more: dict[str, object], hours: float) -> None:
    assert lcu_hours(counted(**more)) == pytest.approx(hours)


def test_rows_of_batches_are_read_units_and_only_what_came_since_is_counted() -> None:
    before = {
        "calls": {"sns.Publish": 2}, "read_units": 1.0, "batch_rows": 3, "write_units": 4.0, "replicated_units": 1.0,
        "written": {"log: commit": 3.0, "state: head": 1.0}, "logged": {"tv.started.v1": 2},
    }  # fmt: skip
    after = {
        "calls": {"sns.Publish": 5}, "read_units": 2.0, "batch_rows": 10, "write_units": 9.0, "replicated_units": 3.0,
        "written": {"log: commit": 5.0, "state: head": 1.0, "state: slot": 3.0}, "logged": {"tv.started.v1": 9},
    }  # fmt: skip
    found = counted(write_units=0.0, replicated_units=0.0, read_units=0.0, calls=Counter())

    found.add(usage_between(before, after))

    assert (found.read_units, found.write_units, found.replicated_units) == (8.0, 5.0, 2.0)
    assert found.calls == {"sns.Publish": 3}
    assert breakdown(found) == {
        "written, state: slot": (3.0 / found.viewer_hours, "WRU"),
        "written, log: commit": (2.0 / found.viewer_hours, "WRU"),
        "logged, tv.started.v1": (7 / found.viewer_hours, "ops"),
    }
