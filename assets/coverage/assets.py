"""What Dagster sees of coverage: which class every clip is of, what is short, and what the platform itself proposes."""

from collections import Counter
from collections.abc import Sequence

import dagster as dg
import numpy as np

from assets.coverage.classes import DIMENSIONS, UNKNOWN, Embed, class_rows
from assets.coverage.gaps import eligible_counts, gap_rows, proposals
from assets.coverage.measures import coverage_plot, measures_table
from assets.curation.captioning.embeddings import encoder_name, text_vectors
from assets.home import Home
from assets.pages.metadata import definition_metadata, picture, table_metadata
from assets.pages.plots import markdown_table
from assets.requests.store import list_proposals
from assets.warehouse.opening import mart_rows
from assets.withheld import withheld
from training.model.text import TextEncoderError


@dg.asset(
    group_name="diversity",
    deps=["deliveries", "shots", "signals", "verdicts"],
    kinds={"python", "parquet"},
    owners=["team:data"],
    code_version="1",
    metadata=definition_metadata("clip_classes"),
)
def clip_classes(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """The class of every clip by subject, place, time of day, motion, aspect, length and contributor.

    Subjects are grouped by the meaning of their words if the text encoder is installed, else by the words alone.
    """
    embed = _embed(home)
    rows = class_rows(home, embed, withheld(home.database_url))
    written = home.lake.write("clip_classes", rows)
    counts = {name: dict(Counter(row[name] for row in rows).most_common()) for name in DIMENSIONS}
    if embed is None:
        context.log.warning(f"no text encoder at {home.text_encoder}: every wording counts as a subject of its own")
    return dg.MaterializeResult(
        metadata=table_metadata(
            home,
            "clip_classes",
            extra={
                "subjects_by": "words alone" if embed is None else "meaning",
                "unknown": dg.MetadataValue.json({name: of.get(UNKNOWN, 0) for name, of in counts.items()}),
                "imbalance": dg.MetadataValue.md(measures_table(counts)),
                "classes": picture(coverage_plot(counts, "of all clips"), "image/png", "share of the clips by class"),
            },
        ),
        data_version=dg.DataVersion(written.sha256),
    )


@dg.asset(
    group_name="coverage",
    deps=["fct_request_fulfilment", "mart_coverage", "footage_requests"],
    kinds={"parquet"},
    owners=["team:data"],
    code_version="2",
    metadata=definition_metadata("coverage_gaps"),
)
def coverage_gaps(home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """What is short: of each open request, of classes with too little to train on, and beside who has too much."""
    coverage = mart_rows(home, "mart_coverage")
    rows = gap_rows(mart_rows(home, "fct_request_fulfilment"), home.lake.rows("requests"), coverage)
    written = home.lake.write("coverage_gaps", rows)
    counts = eligible_counts(coverage)
    shown = ("dimension", "cell", "have_units", "want_units", "missing_units", "asked_units", "reason", "detail")
    return dg.MaterializeResult(
        metadata=table_metadata(
            home,
            "coverage_gaps",
            extra={
                "missing_units": sum(row["missing_units"] for row in rows if row["dimension"] == "request"),
                "short_classes": sum(row["dimension"] != "request" for row in rows),
                "gaps": dg.MetadataValue.md(markdown_table(rows, shown)),
                "imbalance": dg.MetadataValue.md(measures_table(counts)),
                "coverage": picture(coverage_plot(counts), "image/png", "share of the eligible clips by class"),
            },
        ),
        data_version=dg.DataVersion(written.sha256),
    )


@dg.asset(
    group_name="coverage",
    deps=["coverage_gaps"],
    kinds={"parquet", "sqlalchemy"},
    owners=["team:data"],
    code_version="2",
    metadata=definition_metadata("request_proposals"),
)
def request_proposals(home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Requests that the platform proposes: after a withdrawal, a failed evaluation, or for a class that lacks footage."""
    kept = list_proposals(home.database_url)
    gaps = proposals(home.lake.rows("coverage_gaps"))
    kept_ids = {row["proposal_id"] for row in kept}
    rows = kept + [row for row in gaps if row["proposal_id"] not in kept_ids]
    written = home.lake.write("request_proposals", rows)
    return dg.MaterializeResult(
        metadata=table_metadata(
            home,
            "request_proposals",
            extra={
                "kept_proposals": len(kept),
                "bias_gaps": len(gaps),
                "proposals": dg.MetadataValue.md(
                    markdown_table([{"ask for": row["text"], "why": row["reason"]} for row in rows])
                ),
            },
        ),
        data_version=dg.DataVersion(written.sha256),
    )


def _embed(home: Home) -> Embed | None:
    """Unit vectors of texts, cached by text; None if the encoder is not installed."""
    try:
        model = encoder_name(home.text_encoder)
    except TextEncoderError:
        return None

    def embed(texts: Sequence[str]) -> np.ndarray:
        vectors = text_vectors(home, model, list(texts))
        return np.array([vectors[text] for text in texts], np.float32)

    return embed
