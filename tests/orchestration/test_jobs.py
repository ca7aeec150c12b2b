"""What happens to a run when something is out of reach for a moment, and for how long any run may last."""

from __future__ import annotations

import dagster as dg
import pytest

from orchestration.jobs import AGAIN, jobs


@pytest.mark.parametrize("error", [OSError("the bucket does not answer"), dg.Failure("refused", allow_retries=False)])
def test_a_step_is_tried_again_where_that_may_help(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    tried = []

    @dg.asset
    def media() -> None:
        tried.append(1)
        if len(tried) < 3:
            raise error

    policy = dg.RetryPolicy(AGAIN.max_retries, 0, AGAIN.backoff, AGAIN.jitter)
    job = dg.define_asset_job("intake", selection="media", op_retry_policy=policy)
    run = dg.Definitions([media], jobs=[job]).resolve_job_def("intake").execute_in_process(raise_on_error=False)
    assert (run.success, len(tried)) == ((True, 3) if isinstance(error, OSError) else (False, 1))


def test_every_job_tries_again_and_every_run_has_a_bound() -> None:
    for job in jobs:
        assert job.op_retry_policy == AGAIN
        assert float((job.tags or {}).get("dagster/max_runtime", 43200)) <= 3 * 24 * 3600
