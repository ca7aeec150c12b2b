"""The table of stage 6: the members of the sealed training snapshot."""

from assets.tables.columns import OF_CLIP, Table, Text, Texts, columns

TABLES = (
    Table(
        "snapshot_members",
        "Members of the latest sealed training snapshot.",
        ("clip_id",),
        columns(
            ("snapshot_root", Text, "Merkle root of the snapshot"),
            *OF_CLIP,
            ("bytes_sha256", Text, "the source file"),
            ("contributor_id", Text, "who delivered it"),
            ("dup_group", Text, "duplicates stay on one side of the split"),
            ("split", Text, "train or heldout"),
            ("caption", Text, "caption used in training"),
            ("consent_ids", Texts, "consents it rests on"),
            ("decision_digest", Text, "digest of the decision"),
            ("leaf_hash", Text, "its Merkle leaf"),
        ),
    ),
)
