"""Sites that are killed and restarted, that hang, that are slow, in a real deployment with the standard preset.

No round outlives its deadline, the verdict names the site, and the job ends as it should.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rt_flare.core.ledger import Ledger
from rt_flare.core.round_record import Verdict
from rt_flare.jobs.poc import PocDeployment

pytestmark = [pytest.mark.slow, pytest.mark.poc, pytest.mark.timeout(400)]

SITES = ["site-1", "site-2", "site-3"]
DEADLINE_SECONDS = 40


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PocDeployment]:
    with PocDeployment(tmp_path_factory.mktemp("faults") / "poc", SITES) as poc:
        yield poc


def _lost(ledger: Ledger) -> list[set[str]]:
    """Sites without an accepted update, by round."""
    return [{c.site for c in record.contributions if c.status.value != "accepted"} for record in ledger.rounds]


def _names_its_sites(ledger: Ledger) -> bool:
    return all(
        (record.verdict is Verdict.OK) == (not lost) and all(site in " ".join(record.verdict_reasons) for site in lost)
        for record, lost in zip(ledger.rounds, _lost(ledger), strict=True)
    )


def test_a_site_that_is_killed_and_restarted(
    deployment: PocDeployment,
    steady_job: Callable[..., Path],
    await_round: Callable[..., None],
    ledger_of: Callable[..., Ledger],
) -> None:
    """X7, J4: NVFlare does not give a running job back to it; the others finish, and so does the job."""
    job_id = deployment.submit(steady_job(SITES, num_rounds=3, deadline_seconds=DEADLINE_SECONDS))
    await_round(deployment, job_id, 0)
    deployment.kill_site("site-3")
    time.sleep(3)
    deployment.start_site("site-3")
    started = time.monotonic()
    status = deployment.wait_for_job(job_id)
    print(f"\nkilled and restarted: {status} {time.monotonic() - started:.1f} s after the restart")
    ledger = ledger_of(deployment, job_id)
    assert ledger.state == "FINISHED"
    assert _lost(ledger) == [set(), {"site-3"}, {"site-3"}]
    assert _names_its_sites(ledger)
    assert max(record.seconds for record in ledger.rounds) < DEADLINE_SECONDS
    assert status == "FINISHED:COMPLETED"


def test_a_site_that_hangs(
    deployment: PocDeployment,
    steady_job: Callable[..., Path],
    await_round: Callable[..., None],
    ledger_of: Callable[..., Ledger],
) -> None:
    """X7: all its processes are stopped for two rounds; then it goes on, and is in the rounds again."""
    job_id = deployment.submit(steady_job(SITES, num_rounds=5, deadline_seconds=DEADLINE_SECONDS))
    await_round(deployment, job_id, 0)
    hung = deployment.site_processes("site-3")
    for process in hung:
        process.send_signal(signal.SIGSTOP)
    await_round(deployment, job_id, 2)
    for process in hung:
        process.send_signal(signal.SIGCONT)
    started = time.monotonic()
    status = deployment.wait_for_job(job_id)
    print(f"\nhung: {status} {time.monotonic() - started:.1f} s after it went on")
    ledger = ledger_of(deployment, job_id)
    assert (ledger.state, status) == ("FINISHED", "FINISHED:COMPLETED")
    assert _lost(ledger)[:3] == [set(), {"site-3"}, {"site-3"}]
    assert _lost(ledger)[4] == set()
    assert _names_its_sites(ledger)
    assert max(record.seconds for record in ledger.rounds) < DEADLINE_SECONDS


def test_a_site_that_hangs_for_good(
    deployment: PocDeployment,
    steady_job: Callable[..., Path],
    await_round: Callable[..., None],
    ledger_of: Callable[..., Ledger],
) -> None:
    """X7, J4: the server waits a minute for its report, not a quarter of an hour; then the job has ended well."""
    job_id = deployment.submit(steady_job(SITES, num_rounds=2, deadline_seconds=DEADLINE_SECONDS))
    await_round(deployment, job_id, 0)
    hung = deployment.site_processes("site-3")
    for process in hung:
        process.send_signal(signal.SIGSTOP)
    await_round(deployment, job_id, 1)
    started = time.monotonic()
    status = deployment.wait_for_job(job_id)
    seconds = time.monotonic() - started
    print(f"\nhung for good: {status} {seconds:.1f} s after the last round")
    deployment.kill_site("site-3")
    deployment.start_site("site-3")
    deployment.wait_until_registered()
    ledger = ledger_of(deployment, job_id)
    assert (ledger.state, status) == ("FINISHED", "FINISHED:COMPLETED")
    assert _lost(ledger) == [set(), {"site-3"}]
    assert _names_its_sites(ledger)
    assert max(record.seconds for record in ledger.rounds) < DEADLINE_SECONDS
    assert seconds < 100


def test_a_site_that_is_ten_times_slower(
    deployment: PocDeployment, steady_job: Callable[..., Path], ledger_of: Callable[..., Ledger]
) -> None:
    """X7: a round waits 10 s for it once the others are in, and says that it went on without it."""
    job = steady_job(SITES, num_rounds=3, deadline_seconds=DEADLINE_SECONDS, site_seconds={"site-3": 15.0})
    job_id = deployment.submit(job)
    started = time.monotonic()
    status = deployment.wait_for_job(job_id)
    print(f"\n10x slower: {status} {time.monotonic() - started:.1f} s after it was submitted")
    ledger = ledger_of(deployment, job_id)
    assert (ledger.state, status) == ("FINISHED", "FINISHED:COMPLETED")
    assert _lost(ledger) == [{"site-3"}] * 3
    assert _names_its_sites(ledger)
    assert max(record.seconds for record in ledger.rounds) < DEADLINE_SECONDS
    assert max(record.seconds for record in ledger.rounds[1:]) < 15  # in the first one, PyTorch is imported
