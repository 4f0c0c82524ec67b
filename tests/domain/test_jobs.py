"""Leased jobs: one bearer at a time, five attempts, a takeover when the lease runs out."""

import msgspec
import pytest

from eisbach.domain.jobs import (
    Batch,
    Job,
    Turns,
    completed,
    exhausted,
    failed,
    leaseable,
    leased,
    new_batch,
    renewed,
)
from eisbach.kernel.errors import Invalid, LeaseLost
from eisbach.kernel.limits import JOB_ATTEMPTS_MAX, JOB_LEASE

LEASE = int(JOB_LEASE.total_seconds() * 1000)
JOB = Job(part="v0001")


def test_a_leased_job_is_nobody_elses_until_the_lease_runs_out() -> None:
    job = leased(JOB, worker="w1", now_ms=0)

    assert [leaseable(job, now_ms=at) for at in (0, LEASE - 1, LEASE)] == [False, False, True]


def test_a_heartbeat_prolongs_the_lease() -> None:
    job = renewed(leased(JOB, worker="w1", now_ms=0), fence=1, progress=0.5, now_ms=LEASE - 1)

    assert (leaseable(job, now_ms=LEASE), job.progress) == (False, 0.5)


def test_after_a_takeover_the_old_worker_can_do_nothing_any_more() -> None:
    job = leased(leased(JOB, worker="w1", now_ms=0), worker="w2", now_ms=LEASE)
    batch = Batch(asset="a", kind="transcode", home="eu-central", total=1)

    with pytest.raises(LeaseLost, match="fence 2 with 'w2', you hold 1"):
        renewed(job, fence=1, progress=0, now_ms=LEASE)
    with pytest.raises(LeaseLost):
        completed(batch, job, fence=1, result=None)
    with pytest.raises(LeaseLost):
        failed(job, fence=1, reason="", now_ms=LEASE)


def test_a_lease_that_ran_out_and_that_nobody_took_is_still_the_workers() -> None:
    job = renewed(leased(JOB, worker="w1", now_ms=0), fence=1, progress=0, now_ms=10 * LEASE)

    assert not leaseable(job, now_ms=10 * LEASE)


def test_a_failed_job_is_free_after_a_pause_and_exhausted_after_five_leases() -> None:
    job, pauses = JOB, []
    for _ in range(JOB_ATTEMPTS_MAX):
        assert not exhausted(job)
        job = leased(job, worker="w1", now_ms=0)
        job = failed(job, fence=job.fence, reason="no luck", now_ms=0)
        pauses.append(job.after_ms)

    assert exhausted(job)
    assert pauses == [1000, 2000, 4000, 8000, 16000]
    assert not leaseable(job, now_ms=15_999)
    assert leaseable(job, now_ms=16_000)


def test_the_last_completion_finishes_the_batch() -> None:
    batch = new_batch(Batch(asset="a", kind="probe", home="eu-central"), parts=["x", "y"])
    job = leased(JOB, worker="w1", now_ms=0)

    one = completed(batch, job, fence=1, result=msgspec.Raw(b'{"n":1}'))
    two = completed(one, job, fence=1, result=None)

    assert [one.state, two.state] == ["active", "done"]


@pytest.mark.parametrize("parts", [[], ["x", "x"], ["x"] * 20_001])
def test_a_batch_without_jobs_or_with_two_of_one_name_is_refused(parts: list[str]) -> None:
    with pytest.raises(Invalid):
        new_batch(Batch(asset="a", kind="probe", home="eu-central"), parts=parts)


def served(batches: list[Batch], count: int) -> list[str]:
    """Whose jobs are handed out, when every batch has enough of them."""
    turns, assets = Turns(), []
    for _ in range(count):
        first = turns.order(batches)[0]
        turns.served(first)
        assets.append(first.asset)
    return assets


def a_batch(asset: str, *, tenant: str = "de", priority: str = "on_demand", created_ms: int = 0) -> Batch:
    return Batch(
        asset=asset, kind="transcode", home="eu-central", tenant=tenant, priority=priority, created_ms=created_ms
    )


def test_a_huge_ingest_gets_every_second_job_while_a_newcomer_has_one_to_do() -> None:
    turns, huge, new = Turns(), a_batch("huge"), a_batch("new", created_ms=9)
    for _ in range(1000):
        turns.served(turns.order([huge])[0])

    order = []
    for _ in range(6):
        first = turns.order([huge, new])[0]
        turns.served(first)
        order.append(first.asset)

    assert order == ["new", "huge", "new", "huge", "new", "huge"]


def test_a_tenant_of_a_hundred_titles_gets_no_more_than_a_tenant_of_one() -> None:
    batches = [a_batch(f"de{n}") for n in range(100)] + [a_batch("at0", tenant="at")]

    order = served(batches, 200)

    assert order.count("at0") == 100
    assert len(set(order)) == 101, "and the titles of the large one take turns"


def test_live_work_goes_before_everything_else_and_takes_turns_among_itself() -> None:
    batches = [a_batch("film"), a_batch("match", priority="live"), a_batch("news", priority="live", created_ms=5)]

    assert served(batches, 4) == ["match", "news", "match", "news"]


def test_turns_forget_who_is_gone() -> None:
    turns = Turns()
    for n in range(100):
        turns.served(turns.order([a_batch(f"a{n}", tenant=f"t{n}")])[0])

    turns.order([])

    assert (turns._tenants, turns._titles) == ({}, {})
