"""The tables of stages 6 and 8: classes and members of the sealed snapshot, and what the latest model makes."""

from assets.tables.columns import CLIP_KEY, OF_CLIP, Bool, Int, Real, Table, Text, Texts, columns
from assets.vocabulary import ASPECTS, CAMERA_MOTIONS, LENGTHS, MOTIONS, either

_CLASSES = (
    ("subject", Text, "words of the subject that its declared words are nearest to, or unknown"),
    ("place", Text, "declared place without its country, or unknown"),
    ("country", Text, "last name of a declared place of several, or unknown"),
    ("time_of_day", Text, "as declared, or unknown where the check failed"),
    ("motion", Text, either((*MOTIONS, "unknown"))),
    ("camera_motion", Text, either((*CAMERA_MOTIONS, "unknown"))),
    ("aspect", Text, either((*ASPECTS, "unknown"))),
    ("length", Text, either(LENGTHS)),
    ("contributor", Text, "who delivered it"),
)

# fmt: off
TABLES = (
    Table(
        "clip_classes",
        "The class of every clip in each dimension of diversity; withdrawn clips have none.",
        CLIP_KEY,
        columns(
            *OF_CLIP,
            *_CLASSES,
            ("length_s", Real, "seconds"),
            ("classes_version", Text, "version of the policy that named the classes"),
        ),
    ),
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
    Table(
        "clip_weights",
        "How often each training clip of the latest sealed snapshot is seen, and what holds it back.",
        ("clip_id",),
        columns(
            ("snapshot_root", Text, "Merkle root of the snapshot"),
            ("repetition_sha256", Text, "SHA-256 of the sealed file that training reads the weights from"),
            *OF_CLIP,
            *_CLASSES,
            ("length_s", Real, "seconds"),
            ("weight", Int, "in 1/1048576 of once an epoch; the weights of all clips sum to an epoch"),
            ("times_an_epoch", Real, "the same as a number: 1 is an even share"),
            ("limited_by", Texts, "dimensions whose class of it is over-represented; empty where it is seen no less"),
        ),
    ),
    Table(
        "diversity",
        "Every class of the training clips: how much of it there is, and how much of it is seen.",
        ("dimension", "class_name"),
        columns(
            ("snapshot_root", Text, "Merkle root of the snapshot"),
            ("dimension", Text,
             "subject, place, country, time_of_day, motion, camera_motion, aspect, length, contributor"),
            ("class_name", Text, "one class of it; classes of closed lists are there when empty"),
            ("clips", Int, "training clips of it"),
            ("seconds", Real, "their length"),
            ("share", Real, "of the training clips, 0 to 1"),
            ("seen_share", Real, "of what training sees, 0 to 1"),
            ("cap?", Real, "most that it may have of what is seen; null where its dimension has no cap"),
            ("over_cap", Bool, "true where even that needs other footage more often than the policy lets it repeat"),
        ),
    ),
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
# fmt: on
