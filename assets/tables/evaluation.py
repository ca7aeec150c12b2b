"""The tables of stage 8: what the latest model makes, and how good it measures."""

from assets.tables.columns import Int, Real, Table, Text, columns

TABLES = (
    Table(
        "samples",
        "Generated videos of the latest model version.",
        ("sample_id",),
        columns(
            ("sample_id", Text, "prompt and seed, hashed"),
            ("model_key", Text, "which weights made it"),
            ("prompt", Text, "the prompt"),
            ("seed", Int, "the seed"),
            ("media_key", Text, "mp4 in the store"),
            ("frames", Int, "frames"),
            ("fps", Real, "frames per second"),
            ("width", Int, "pixels"),
            ("height", Int, "pixels"),
        ),
    ),
    Table(
        "scorecard",
        "Measured quality of the latest model, per metric and slice, with interval and method.",
        ("metric", "slice"),
        columns(
            ("model_key", Text, "which weights were measured"),
            ("metric", Text, "name"),
            ("slice", Text, "all, or field=value"),
            ("value?", Real, "measured value; null when not measured"),
            ("ci_low?", Real, "lower end of the 95 % interval"),
            ("ci_high?", Real, "upper end of the 95 % interval"),
            ("n", Int, "samples measured"),
            ("unit", Text, "unit"),
            ("better", Text, "higher, lower or none"),
            ("method", Text, "method and version"),
            ("state", Text, "measured or not_measured"),
            ("why?", Text, "why it was not measured"),
        ),
    ),
)
