"""The tables of stage 1: what is asked for, how much of it is missing, and what the platform itself proposes."""

from assets.tables.columns import Int, Real, Table, Text, Texts, columns
from assets.vocabulary import TIMES_OF_DAY, either

TABLES = (
    Table(
        "requests",
        "What companies ask for: one row a request, parsed from text or YAML.",
        ("request_id",),
        columns(
            ("request_id", Text, "identity of the request"),
            ("org_id", Text, "who asks and pays"),
            ("title", Text, "the line or title as it was asked"),
            ("status", Text, "draft, open, paused, filled, closed_deadline, closed_budget or cancelled"),
            ("subject?", Text, "what is to be seen"),
            ("location?", Text, "place name"),
            ("time_of_day?", Text, either(TIMES_OF_DAY)),
            ("min_width?", Int, "pixels along the long side, at least"),
            ("min_height?", Int, "pixels along the short side, at least"),
            ("aspect_ratio?", Text, "width:height, for instance 16:9"),
            ("duration_min_s?", Real, "shortest accepted length in seconds"),
            ("duration_max_s?", Real, "longest accepted length in seconds"),
            ("target_units", Int, "how many clips are asked for"),
            ("max_per_contributor?", Int, "how many clips one contributor may fill"),
            ("price_minor", Int, "price of one accepted clip in minor units of the currency"),
            ("budget_minor", Int, "most that may be spent, in minor units"),
            ("currency", Text, "ISO 4217 code"),
            ("opens_at", Text, "UTC time from which deliveries count"),
            ("deadline_at?", Text, "UTC time after which nothing is accepted"),
            ("origin", Text, "human, eval_failure, bias_gap or revocation_backfill"),
            ("origin_ref?", Text, "what proposed it: a scorecard slice, a clip, a model version"),
            ("criteria_json", Text, "list of {field, op, value, hard, check} as canonical JSON"),
            ("not_understood", Texts, "parts of the text that no criterion came from"),
        ),
    ),
    Table(
        "coverage_gaps",
        "What is short: of each open request, of each class of footage, and of others beside one that has too much.",
        ("dimension", "cell"),
        columns(
            ("dimension", Text, "request, or what footage is sliced by, or two of those joined by ' x '"),
            ("cell", Text, "the request, the class, or two classes joined by ' | '"),
            ("have_units", Int, "clips accepted for the request; clips of the class that may be trained on"),
            ("want_units", Int, "clips that the request or the policy asks for"),
            ("missing_units", Int, "wanted less what there is, never below zero"),
            ("asked_units", Int, "of the missing ones, how many open requests ask for already"),
            ("eligible_units", Int, "clips of it that consent covers today"),
            ("reason", Text, "request.unfilled, class.below_fair_share, pair.empty or share.over_cap"),
            ("detail", Text, "why, in a sentence with its numbers"),
        ),
    ),
    Table(
        "request_proposals",
        "Requests that the platform itself proposes; people decide.",
        ("proposal_id",),
        columns(
            ("proposal_id", Text, "identity, derived from its cause"),
            ("origin", Text, "eval_failure, bias_gap or revocation_backfill"),
            ("origin_ref", Text, "what caused it"),
            ("text", Text, "a request line that `rushes request add` takes"),
            ("reason", Text, "why, in a sentence"),
            ("target_units", Int, "how many clips"),
        ),
    ),
)
