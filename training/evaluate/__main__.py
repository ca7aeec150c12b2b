"""`python -m training.evaluate --config evaluate.json`: measure a model and write its scorecard as JSON.

The file holds {"rows": [...], "values": {metric: {item: number}}}: what was measured, and the numbers behind it by clip,
trial or scene.

Exit codes: 0 done, 1 the configuration or the data do not fit.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from training import process
from training.config import EvaluateConfig, read_config
from training.data.clips import DataError
from training.data.video import VideoError
from training.evaluate.scorecard import PARTS, scorecard
from training.model.config import ConfigError
from training.model.text import TextEncoderError
from training.process import bar, write_json


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description="Measure a model.")
    parser.add_argument("--config", required=True, help="JSON file, see training/config.py: EvaluateConfig")
    started = time.monotonic()
    try:
        config = read_config(EvaluateConfig, parser.parse_args(arguments).config)
        with bar("scorecard", PARTS) as progress:
            measured = scorecard(config, progress)
    except (ConfigError, DataError, TextEncoderError, VideoError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    write_json(Path(config.out), {"rows": measured.rows, "values": measured.values}, allow_nan=False)
    there = sum(row["state"] == "measured" for row in measured.rows)
    print(f"measured {there} of {len(measured.rows)} rows in {time.monotonic() - started:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    process.hold_on()
    sys.exit(main())
