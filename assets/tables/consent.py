"""The tables of stage 4: what people signed, what reviewers saw, and which clips may be used.

The ledger itself is a database; these are its readable copy in the lake.
"""

from assets.tables.columns import CLIP_KEY, OF_CLIP, RECEIVED_DAY, Bool, Int, Table, Text, Texts, columns

# fmt: off
TABLES = (
    Table(
        "consent_submissions",
        "Signed consent events as they came with deliveries, before the ledger judged them.",
        ("delivery_id", "event_sha256"),
        columns(
            ("delivery_id", Text, "delivery that carried it"),
            RECEIVED_DAY,
            ("event_sha256", Text, "SHA-256 of the envelope as received"),
            ("envelope_json", Text, "the signed envelope as received"),
        ),
        partitioned=True,
    ),
    Table(
        "consent_events",
        "The ledger's admitted events in order, flattened.",
        ("seq",),
        columns(
            ("seq", Int, "order in the ledger, from 0"),
            ("event_id", Text, "identity of the event"),
            ("consent_id", Text,
             "the consent it belongs to, empty for none; people choose it, so it is one's own only"),
            ("type", Text, "grant, amend, revoke; dispute, adjudicate; or one of the identity events"),
            ("party_id", Text, "whose consent, key, guardian or dispute it is"),
            ("role", Text, "contributor, depicted, guardian or property_owner; empty for what is no consent"),
            ("actor", Text, "who signed"),
            ("issued_at", Text, "time of signing as claimed"),
            ("effective_at", Text, "claimed time"),
            ("recorded_at", Text, "time the ledger admitted it"),
            ("expires_at?", Text, "end of the consent; null for none"),
            ("scopes", Texts, "purposes covered"),
            ("territories", Texts, "ISO 3166-1 codes covered, or *"),
            ("recipients", Texts, "who may receive it, or *"),
            ("assets", Texts,
             "SHA-256 digests covered or disputed: of a file's bytes or frames, or of a clip's frames"),
            ("guardian_id?", Text, "who may sign for the party, or no longer may"),
            ("dispute_id?", Text, "the dispute that was opened or decided"),
            ("outcome?", Text, "dismissed or upheld, of a decided dispute"),
            ("leaf_hash", Text, "the ledger leaf"),
        ),
    ),
    Table(
        "consent_refusals",
        "Events that the ledger refused, with the rule that they broke.",
        ("event_sha256",),
        columns(
            ("event_sha256", Text, "SHA-256 of the envelope"),
            ("rule", Text, "name of the rule"),
            ("detail", Text, "what was wrong"),
            ("refused_at", Text, "UTC time"),
        ),
    ),
    Table(
        "reviews",
        "What reviewers decided, one row a reviewer and clip; a review of other bytes or people is void.",
        (*CLIP_KEY, "reviewer_id", "round"),
        columns(
            *OF_CLIP,
            ("reviewer_id", Text, "who decided"),
            ("organisation", Text, "whom they worked for then; two of one organisation are one opinion"),
            ("round", Int, "round, from 1"),
            ("digest", Text, "digest of what was seen"),
            ("verdict", Text, "approve or reject"),
            ("reasons", Texts, "all reasons given"),
            ("persons_counted", Int, "identifiable people the reviewer counted"),
            ("non_identifiable", Int, "people or detections the reviewer marked as not identifiable"),
            ("reviewed_at", Text, "UTC time"),
            ("valid", Bool, "the reviewer's last word on what is there now, and they may judge this clip"),
            ("independent", Bool, "a registered reviewer who may judge this clip, whatever has changed since"),
            ("counts", Bool, "adds to the approvals or rejections: valid, first of its organisation, not appealed"),
            ("why_not?", Text, "why it does not count, as a code"),
            ("fit_for_catalogue", Bool, "approves, or objects to nothing that the catalogue minds"),
        ),
    ),
    Table(
        "eligibility",
        "Whether consent, people and reviews allow a clip's use; default is no.",
        (*CLIP_KEY, "purpose"),
        columns(
            *OF_CLIP,
            ("purpose", Text, "scope asked about"),
            ("eligible", Bool, "true only when no reason stands against it"),
            ("reasons", Texts, "every reason against it, as codes"),
            ("consent_ids", Texts, "consents it rests on"),
            ("decision_digest", Text, "digest over the facts and consents the decision rests on"),
        ),
    ),
    Table(
        "eligibility_history",
        "How many clips were in and out, and why, as recorded on each day; one clip counts under all its reasons.",
        ("day", "purpose", "reason"),
        columns(
            ("day", Text, "partition: UTC day of the decision, YYYY-MM-DD"),
            ("purpose", Text, "scope asked about"),
            ("reason", Text, "eligible, not_eligible, or a code against the use"),
            ("clips", Int, "how many clips"),
        ),
        partitioned=True,
    ),
)
# fmt: on
