"""The presets: for each size of the ladder a budget that teaches it something. Data alone; `config` lays choices over them.

A preset is where to start from, not a limit. Its tokens are those of one step over all processes together, so they grow
with the machine: on a GPU, take as many as its memory holds.
"""

from collections.abc import Mapping
from typing import Any

from training.config import RECIPE

DEFAULT = "nano"
ALIASES = {"demo": "nano"}  # names that settings of earlier versions use
# How the minutes of a night are shared: the autoencoder of a night learns little, and it starts from a base or a parent.
MINUTES: Mapping[str, float] = {"codec": 0.25, "transformer": 0.75}


def _preset(size: str, codec: Mapping[str, Any], transformer: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    own = {"codec": codec, "transformer": transformer}
    return {task: RECIPE[task] | {"size": size} | dict(own[task]) for task in own}


# Above nano, whose latents keep what there is to see, LPIPS is in the codec's loss, and above micro a critic.
_LIKE = {"perceptual": 0.05}
_FILMED = _LIKE | {"adversarial": 0.02}
_MICRO = {"eval_every": 100, "checkpoint_every": 200, "patience": 10}
_SMALL = {"eval_every": 250, "checkpoint_every": 500, "patience": 12}
_LARGE = {"eval_every": 500, "checkpoint_every": 500, "patience": 12}

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    # two cores, a few minutes: what the base knows, and what the night's clips add to it
    "nano": {
        "codec": RECIPE["codec"]
        | {"steps": 60, "eval_every": 10, "checkpoint_every": 20, "lr": 5e-4, "batch_tokens": 480, "patience": 3}
        | {"rendered_share": 0.25, "rendered_clips": 500},
        "transformer": RECIPE["transformer"]
        | {"steps": 200, "eval_every": 25, "checkpoint_every": 100, "lr": 6e-4, "batch_tokens": 480, "patience": 4}
        | {"rendered_share": 0.7, "rendered_clips": 4096, "ema_decay": 0.995},
    },
    # eight cores for a night, or any GPU for an hour
    "micro": _preset(
        "micro",
        _MICRO | _LIKE | {"steps": 2000, "lr": 1e-3, "batch_tokens": 10_240, "warmup": 100, "rendered_share": 0.25},
        _MICRO
        | {"steps": 10_000, "lr": 1e-3, "batch_tokens": 5120, "warmup": 200, "rendered_share": 0.5}
        | {"rendered_clips": 12_000, "ema_decay": 0.999},
    ),
    # one GPU of 24 GB or more
    "S": _preset(
        "S",
        _SMALL | _FILMED | {"steps": 5000, "lr": 6e-4, "batch_tokens": 36_864, "warmup": 200},
        _SMALL
        | {"steps": 40_000, "lr": 6e-4, "batch_tokens": 36_864, "warmup": 500, "rendered_share": 0.25}
        | {"rendered_clips": 12_000, "ema_decay": 0.9995},
    ),
    # one GPU of 80 GB or more
    "B": _preset(
        "B",
        _LARGE | _FILMED | {"steps": 10_000, "lr": 4e-4, "batch_tokens": 83_200, "warmup": 500},
        _LARGE | {"steps": 100_000, "lr": 4e-4, "batch_tokens": 83_200, "warmup": 1000, "ema_decay": 0.9998},
    ),
    # eight GPUs of 80 GB
    "L": _preset(
        "L",
        _LARGE | _FILMED | {"steps": 10_000, "lr": 3e-4, "batch_tokens": 166_400, "warmup": 500},
        _LARGE | {"steps": 150_000, "lr": 3e-4, "batch_tokens": 332_800, "warmup": 2000, "ema_decay": 0.9999},
    ),
    # eight GPUs of 80 GB, in shards ("strategy": "fsdp")
    "XL": _preset(
        "XL",
        _LARGE | _FILMED | {"steps": 10_000, "lr": 3e-4, "batch_tokens": 166_400, "warmup": 500},
        _LARGE
        | {"steps": 200_000, "lr": 2e-4, "batch_tokens": 332_800, "warmup": 2000, "ema_decay": 0.9999}
        | {"activation_checkpointing": True},
    ),
    # several machines of eight such GPUs, in shards
    "2B": _preset(
        "2B",
        _LARGE | _FILMED | {"steps": 20_000, "lr": 2e-4, "batch_tokens": 332_800, "warmup": 1000},
        _LARGE
        | {"steps": 250_000, "lr": 1e-4, "batch_tokens": 1_331_200, "warmup": 4000, "ema_decay": 0.9999}
        | {"activation_checkpointing": True},
    ),
}

# with a pretrained base, of whatever size: what its transformer lacks of the snapshot, on a GPU
FINETUNE: Mapping[str, Mapping[str, Any]] = {
    "codec": {},
    "transformer": {"steps": 1000, "eval_every": 100, "checkpoint_every": 100, "lr": 1e-4, "batch_tokens": 8192}
    | {"warmup": 50, "ema_decay": 0.99, "weight_decay": 0.0, "patience": 4},
}
