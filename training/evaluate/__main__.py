"""`python -m training.evaluate --config evaluate.json`: measure a model and write its scorecard's rows as JSON.

Exit codes: 0 done, 1 the configuration or the data do not fit.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from training.config import ConfigError, EvaluateConfig, read_config
from training.data import DataError
from training.evaluate.scorecard import scorecard
from training.text import TextEncoderError
from training.video import VideoError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description="Measure a model.")
    parser.add_argument("--config", required=True, help="JSON file, see training/config.py: EvaluateConfig")
    started = time.monotonic()
    try:
        config = read_config(EvaluateConfig, parser.parse_args(arguments).config)
        rows = scorecard(config)
    except (ConfigError, DataError, TextEncoderError, VideoError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    out = Path(config.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")
    os.replace(partial, out)
    measured = sum(row["state"] == "measured" for row in rows)
    print(f"measured {measured} of {len(rows)} rows in {time.monotonic() - started:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
