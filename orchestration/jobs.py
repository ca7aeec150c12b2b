"""The jobs: which part of the graph runs together.

`ask` takes in requests, `intake` one received day from delivery to verdicts. `refresh` brings what depends on all days
up to date (duplicates, ledger, reviews, eligibility, classes, warehouse, shortfalls). `retrain` goes from the warehouse
to a released model. `nightly` is the two last ones in one run, so that a failed check stops everything behind it.
"""

import dagster as dg

INTAKE_ASSETS = (
    *("deliveries", "media", "shots", "signals", "visual_captions", "verdicts"),
    *("captions", "embeddings"),
)

intake_selection = dg.AssetSelection.assets(*INTAKE_ASSETS)
refresh_selection = dg.AssetSelection.groups(
    "requests", "consent", "diversity", "warehouse", "coverage"
) | dg.AssetSelection.assets("duplicates")
retrain_selection = dg.AssetSelection.groups("dataset", "model", "evaluation", "release")

# Every asset reads or writes the store, a database or the registry, and each may be out of reach for a moment. What would
# fail again raises dg.Failure(allow_retries=False). 10 and 20 seconds, a little more or less.
AGAIN = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
# a killed worker or a machine that lost power may pass: what was finished is kept, the rest is run once more
RETRIED = {"dagster/max_retries": "1"}
TRAINS = {"dagster/max_runtime": str(3 * 24 * 3600)}  # seconds; the larger presets train for days

ask_job = dg.define_asset_job(
    "ask",
    selection=dg.AssetSelection.assets("footage_requests"),
    op_retry_policy=AGAIN,
    description="Take in what is asked for, so that deliveries meet requests that are known.",
    tags={"dagster/max_runtime": "3600"},
)
intake_job = dg.define_asset_job(
    "intake",
    selection=intake_selection,
    op_retry_policy=AGAIN,
    description="One received day: deliveries, full decode, shots, signals, verdicts, captions, embeddings.",
    tags=RETRIED,  # a bad file never gets here as a failure
)
refresh_job = dg.define_asset_job(
    "refresh",
    selection=refresh_selection,
    op_retry_policy=AGAIN,
    description="Duplicates, consent ledger, reviews, eligibility, warehouse, shortfalls and proposals.",
    tags=RETRIED,
)
retrain_job = dg.define_asset_job(
    "retrain",
    selection=retrain_selection,
    op_retry_policy=AGAIN,
    description="From the warehouse to a sealed snapshot, a trained and evaluated model, a gate and a release.",
    tags=RETRIED | TRAINS,
)
nightly_job = dg.define_asset_job(
    "nightly",
    selection=refresh_selection | retrain_selection,
    op_retry_policy=AGAIN,
    description="Refresh, then retrain: the whole night after intake.",
    tags=RETRIED | TRAINS,
)

jobs = [ask_job, intake_job, refresh_job, retrain_job, nightly_job]
