"""A code location of one pooled asset, which works until the file `let-go` lies beside this home's `dagster.yaml`."""

import os
import time
from pathlib import Path

import dagster as dg


@dg.asset(pool="training")
def pooled() -> None:
    while not (Path(os.environ["DAGSTER_HOME"]) / "let-go").exists():
        time.sleep(0.2)


defs = dg.Definitions([pooled], jobs=[dg.define_asset_job("hold", selection="pooled")], executor=dg.in_process_executor)
