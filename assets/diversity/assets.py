"""What Dagster sees of diversity before the warehouse: which class every clip is of."""

from collections import Counter
from collections.abc import Sequence

import dagster as dg
import numpy as np

from assets.consent.withdrawals.journal import withheld
from assets.diversity import classes
from assets.diversity.page import coverage_plot, measures_table
from assets.diversity.record import class_rows
from assets.diversity.subjects import Embed
from assets.home import Home
from assets.metadata import definition_metadata, picture, table_metadata


@dg.asset(
    deps=["deliveries", "shots", "signals", "verdicts"],
    kinds={"python", "parquet"},
    owners=["team:data"],
    code_version="1",
    metadata=definition_metadata("clip_classes"),
)
def clip_classes(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """The class of every clip by subject, place, time of day, motion, aspect, length and contributor.

    Subjects are grouped by the meaning of their words where the text encoder is there, else by the words alone.
    """
    embed = _embed(home)
    rows = class_rows(home, embed, withheld(home))
    written = home.lake.write("clip_classes", rows)
    counts = {name: dict(Counter(row[name] for row in rows).most_common()) for name in classes.DIMENSIONS}
    if embed is None:
        context.log.warning(f"no text encoder at {home.text_encoder}: every wording counts as a subject of its own")
    return dg.MaterializeResult(
        metadata=table_metadata(
            home,
            "clip_classes",
            extra={
                "subjects_by": "words alone" if embed is None else "meaning",
                "unknown": dg.MetadataValue.json({name: of.get(classes.UNKNOWN, 0) for name, of in counts.items()}),
                "imbalance": dg.MetadataValue.md(measures_table(counts)),
                "classes": picture(coverage_plot(counts, "of all clips"), "image/png", "share of the clips by class"),
            },
        ),
        data_version=dg.DataVersion(written.sha256),
    )


def _embed(home: Home) -> Embed | None:
    """Unit vectors of texts, remembered by text; None where the encoder is not installed."""
    from assets.curation.telling.embeddings import encoder_name, text_vectors
    from training.model.text import TextEncoderError

    try:
        model = encoder_name(home.text_encoder)
    except TextEncoderError:
        return None

    def embed(texts: Sequence[str]) -> np.ndarray:
        found = text_vectors(home, model, list(texts))
        return np.array([found[text] for text in texts], np.float32)

    return embed
