"""The lake's tables: every column that Python assets write, with its type, unit and meaning.

What belongs here: schemas only, so that the lake can refuse a row that does not fit, Dagster can show the columns
and dbt can rely on them. What does not: marts (the dbt project declares those) and database rows (the ledger's).

Times are RFC 3339 strings in UTC (`2026-11-02T08:00:00Z`); units are in the names; lists of reasons are complete.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

Text, Int, Real, Bool = pa.string(), pa.int64(), pa.float64(), pa.bool_()
Texts, Vector = pa.list_(pa.string()), pa.list_(pa.float32(), 384)


@dataclass(frozen=True)
class Column:
    name: str
    type: pa.DataType
    doc: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """A lake table: `lake/<name>/day=<day>/part.parquet` when partitioned, else `lake/<name>/part.parquet`."""

    name: str
    doc: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partitioned: bool = False

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable, metadata={"doc": c.doc}) for c in self.columns])


def _columns(*rows: tuple[str, pa.DataType, str]) -> tuple[Column, ...]:
    """A name that ends in `?` is a nullable column."""
    return tuple(Column(name.rstrip("?"), type_, doc, name.endswith("?")) for name, type_, doc in rows)


_OF_CLIP = (
    ("clip_id", Text, "the clip"),
    ("item_id", Text, "its item"),
    ("shot_index", Int, "its shot"),
)
_ALL = (
    Table(
        "requests",
        "What companies ask for: one row a request, parsed from text or YAML.",
        ("request_id",),
        _columns(
            ("request_id", Text, "identity of the request"),
            ("org_id", Text, "who asks and pays"),
            ("title", Text, "the line or title as it was asked"),
            ("status", Text, "draft, open, paused, filled, closed_deadline, closed_budget or cancelled"),
            ("subject?", Text, "what is to be seen"),
            ("location?", Text, "place name"),
            ("time_of_day?", Text, "night, dawn, morning, day, evening, sunset or dusk"),
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
        "How short each open request is.",
        ("request_id",),
        _columns(
            ("request_id", Text, "identity of the request"),
            ("target_units", Int, "clips asked for"),
            ("accepted_units", Int, "clips accepted so far"),
            ("eligible_units", Int, "accepted clips that consent covers today"),
            ("missing_units", Int, "target less accepted, never below zero"),
        ),
    ),
    Table(
        "request_proposals",
        "Requests that the platform itself proposes; people decide.",
        ("proposal_id",),
        _columns(
            ("proposal_id", Text, "identity, derived from its cause"),
            ("origin", Text, "eval_failure, bias_gap or revocation_backfill"),
            ("origin_ref", Text, "what caused it"),
            ("text", Text, "a request line that `rushes request add` takes"),
            ("reason", Text, "why, in a sentence"),
            ("target_units", Int, "how many clips"),
        ),
    ),
    Table(
        "deliveries",
        "Delivery manifests as received, one row a delivery folder.",
        ("delivery_id",),
        _columns(
            ("delivery_id", Text, "identity named by the contributor's app"),
            ("received_day", Text, "partition: the UTC day of arrival, YYYY-MM-DD"),
            ("received_at", Text, "UTC time of arrival"),
            ("folder", Text, "folder name in the inbox"),
            ("contributor_id?", Text, "who delivered; null when the manifest could not be read"),
            ("request_id?", Text, "which request it answers"),
            ("manifest_sha256", Text, "SHA-256 of delivery.json as received"),
            ("items_declared", Int, "clips named by the manifest"),
            ("state", Text, "accepted or quarantined"),
            ("reasons", Texts, "all reasons for quarantine, as codes with detail"),
        ),
        partitioned=True,
    ),
    Table(
        "delivery_items",
        "What each manifest declares, one row a file (files that no manifest names are rows too, quarantined).",
        ("item_id",),
        _columns(
            ("item_id", Text, "delivery and position, hashed: file names play no part"),
            ("delivery_id", Text, "the delivery it came in"),
            ("received_day", Text, "partition"),
            ("position", Int, "place in the manifest, from 0"),
            ("file_name", Text, "name as delivered, for people only"),
            ("contributor_id?", Text, "who delivered"),
            ("request_id?", Text, "request answered"),
            ("declared_subject?", Text, "what the contributor says is seen"),
            ("declared_location?", Text, "where"),
            ("declared_time_of_day?", Text, "when in the day"),
            ("declared_width?", Int, "pixels"),
            ("declared_height?", Int, "pixels"),
            ("declared_aspect_ratio?", Text, "width:height"),
            ("declared_duration_s?", Real, "seconds"),
            ("declared_sha256?", Text, "SHA-256 of the file as it left the contributor"),
            ("captured_at?", Text, "UTC time of capture as declared"),
            ("latitude?", Real, "degrees north"),
            ("longitude?", Real, "degrees east"),
            ("device?", Text, "camera as declared"),
            ("persons_json", Text, "people in the clip as declared: list of {person_id, identifiable, minor}"),
            ("properties_json?", Text, "recognisable property in it as declared: list of {owner_id, what}"),
            ("source_name?", Text, "title of the footage's source"),
            ("source_licence?", Text, "licence of the footage's source"),
            ("state", Text, "accepted (to be probed) or quarantined"),
            ("reasons", Texts, "all reasons for quarantine"),
        ),
        partitioned=True,
    ),
    Table(
        "media",
        "What the files really are: full decode of every delivered file, one row an item.",
        ("item_id",),
        _columns(
            ("item_id", Text, "the declared item"),
            ("received_day", Text, "partition"),
            ("bytes_sha256?", Text, "SHA-256 of the file"),
            ("size_bytes", Int, "file size"),
            ("media_key?", Text, "content-addressed key in the store"),
            ("state", Text, "accepted or quarantined"),
            ("reasons", Texts, "all reasons for quarantine"),
            ("notes?", Texts, "traits that are no fault, such as a variable frame rate"),
            ("container?", Text, "container format as demuxed"),
            ("codec?", Text, "video codec"),
            ("pixel_format?", Text, "pixel format"),
            ("width?", Int, "pixels, rotation applied"),
            ("height?", Int, "pixels, rotation applied"),
            ("rotation_deg?", Int, "rotation from metadata"),
            ("fps?", Real, "mean frames per second from the decoded timestamps"),
            ("frames_declared?", Int, "frames the header promises"),
            ("frames_decoded?", Int, "frames that decoded"),
            ("duration_s?", Real, "length of the decoded pictures in seconds"),
            ("frames_sha256?", Text, "SHA-256 over all decoded frames"),
            ("has_audio?", Bool, "an audio stream is present"),
            ("decode_errors?", Int, "packets that failed to decode"),
            (
                "integrity?",
                Text,
                "what would show a changed bit: checksums (the container's own, over all pictures) or syntax alone",
            ),
            ("c2pa_state?", Text, "absent, valid, trusted, invalid or unreadable"),
            (
                "c2pa_source_type?",
                Text,
                "IPTC digital source type: an algorithm's anywhere in the file's history, else the newest manifest's",
            ),
            ("c2pa_detail?", Text, "who says so, what is broken, and the ingredients"),
            (
                "spectral_peak_db?",
                Real,
                "strongest regular pattern in the pictures' high frequencies, over its surroundings",
            ),
            (
                "watermark_log10_p?",
                Real,
                "log10 of the chance that pictures without our watermark look as much like it as these, at most",
            ),
            ("watermark_payload?", Text, "the 32 bits that were read where a watermark may be there, hexadecimal"),
            ("probe_version", Text, "version of the probe"),
        ),
        partitioned=True,
    ),
    Table(
        "shots",
        "Clips: each shot of an accepted file, with the identity everything downstream uses.",
        ("clip_id", "item_id", "shot_index"),
        _columns(
            ("clip_id", Text, "SHA-256 over the decoded frames of the range"),
            ("item_id", Text, "where it came from"),
            ("received_day", Text, "partition"),
            ("bytes_sha256", Text, "the source file's SHA-256"),
            ("media_key", Text, "the source file in the store"),
            ("shot_index", Int, "order in the file, from 0"),
            ("start_frame", Int, "first frame"),
            ("end_frame", Int, "one past the last frame"),
            ("start_s", Real, "seconds"),
            ("end_s", Real, "seconds"),
            ("boundary", Text, "what ended it: cut, fade, dissolve, end"),
            ("detector_version", Text, "version of the shot detector"),
        ),
        partitioned=True,
    ),
    Table(
        "signals",
        "Measured facts about every clip, from one decode pass at 256 pixels on the long side.",
        ("clip_id", "item_id", "shot_index"),
        _columns(
            *_OF_CLIP,
            ("received_day", Text, "partition"),
            ("width", Int, "pixels of the source"),
            ("height", Int, "pixels of the source"),
            ("duration_s", Real, "seconds"),
            ("fps", Real, "frames per second"),
            ("motion_diag_per_s", Real, "median optical flow in frame diagonals per second"),
            ("motion_p90_diag_per_s", Real, "90th percentile of the same"),
            ("camera_motion", Text, "static, pan, tilt, zoom, roll or handheld"),
            ("camera_motion_diag_per_s", Real, "strength of the camera's own motion"),
            ("camera_pan_diag_per_s", Real, "the camera's turn to the right, negative to the left"),
            ("camera_tilt_diag_per_s", Real, "the camera's turn upwards, negative downwards"),
            ("camera_zoom_diag_per_s", Real, "mean outward speed that zooming in causes, negative for zooming out"),
            (
                "camera_roll_diag_per_s",
                Real,
                "mean speed that rolling causes, positive where the picture turns clockwise",
            ),
            ("sharpness", Real, "variance of the Laplacian at the fixed size"),
            ("luma_mean", Real, "mean luma, 0 to 1"),
            ("luma_p05", Real, "5th percentile of luma, 0 to 1"),
            ("luma_p50", Real, "median of luma, 0 to 1"),
            ("luma_p95", Real, "95th percentile of luma, 0 to 1"),
            ("clipped_fraction", Real, "share of pixels below 5 or above 250 of 255"),
            ("contrast", Real, "standard deviation of luma, 0 to 1"),
            ("colourfulness", Real, "Hasler and Suesstrunk's measure, 8-bit units"),
            (
                "shadow_saturation",
                Real,
                "mean saturation of the darkest 40 % of pixels, 0 to 1; high under lamps at night",
            ),
            (
                "noise?",
                Real,
                "robust noise estimate on the native picture, 8-bit units; null where it has no 8-bit luma",
            ),
            (
                "detail_fraction?",
                Real,
                "share of the pixel grid's resolution that the spectrum uses, 0 to 1; null where nothing has detail",
            ),
            ("flicker", Real, "mean absolute change of mean luma between frames, 0 to 1"),
            ("freeze_fraction", Real, "share of frames equal to the one before"),
            ("black_fraction", Real, "share of black frames"),
            ("letterbox_fraction", Real, "share of the picture that is constant black border"),
            ("crop_json", Text, "the picture inside its borders: [left, top, width, height] as shares"),
            ("text_fraction?", Real, "share of the picture under lasting rows of letters; null for a single look"),
            ("faces_max?", Int, "most faces seen in one sampled frame; null when no detector was there"),
            ("faces_json", Text, "boxes a sampled frame: list of {frame, boxes}; no embedding is ever stored"),
            (
                "frame_phashes",
                Texts,
                "perceptual hashes, 4 a second: 256 bits of structure, 64 of colour layout, hexadecimal",
            ),
            ("loudness_lufs?", Real, "integrated loudness after ITU-R BS.1770, LUFS; null without sound that decodes"),
            ("silence_fraction?", Real, "share of the sound below -50 LUFS"),
            ("speech_fraction?", Real, "share of seconds that sound like speech"),
            ("technical_quality", Real, "0 to 1: geometric mean of what the pictures' parts are worth"),
            ("quality_json", Text, "what each part is worth, 0 to 1"),
            ("aesthetic?", Real, "highest score of the aesthetics plug-in, in its units; null without one"),
            ("nsfw?", Real, "highest score of the unsafe-content plug-in, 0 to 1; null without one"),
            ("plugins_json", Text, "version of every plug-in that was there"),
            ("signals_version", Text, "version of the pass"),
        ),
        partitioned=True,
    ),
    Table(
        "duplicates",
        "Which clips show the same footage, and which of them is the original.",
        ("clip_id", "item_id", "shot_index"),
        _columns(
            *_OF_CLIP,
            ("dup_group", Text, "identity of the group: the original's clip_id"),
            ("original_item_id", Text, "the earliest owner's item"),
            ("kind", Text, "unique, original, exact (bytes or frames) or near (perceptual hash)"),
            ("distance?", Real, "median Hamming distance to the original, in bits of 256; null when unique"),
            ("verdict", Text, "pass or fail"),
            ("reason?", Text, "dup.exact, dup.near (of another owner) or dup.own_similar"),
            ("duplicates_version", Text, "version of the method"),
        ),
    ),
    Table(
        "captions",
        "What a model may be told about a clip, every field with its source.",
        ("clip_id", "item_id", "shot_index", "kind"),
        _columns(
            *_OF_CLIP,
            ("received_day", Text, "partition"),
            ("kind", Text, "short or long"),
            ("text", Text, "the caption"),
            ("sources_json", Text, "list of {clause, source}"),
            ("captioner", Text, "name and version"),
        ),
        partitioned=True,
    ),
    Table(
        "embeddings",
        "Text embeddings of long captions.",
        ("clip_id", "item_id", "shot_index"),
        _columns(
            *_OF_CLIP,
            ("received_day", Text, "partition"),
            ("model", Text, "encoder and version"),
            ("vector", Vector, "unit-length embedding"),
        ),
        partitioned=True,
    ),
    Table(
        "verdicts",
        "Every check on every clip: value, threshold, verdict. Unmeasurable never passes.",
        ("clip_id", "item_id", "shot_index", "check"),
        _columns(
            *_OF_CLIP,
            ("received_day", Text, "partition"),
            ("check", Text, "name of the check"),
            ("check_version", Text, "version of the check"),
            ("value?", Text, "measured value, as text"),
            ("unit?", Text, "unit of the value"),
            ("threshold?", Text, "threshold or declared value it was compared with"),
            ("verdict", Text, "pass, fail, unmeasurable or not_yet"),
            ("severity", Text, "fatal (never eligible), quality (may miss the brief) or info"),
            ("reason?", Text, "rejection code such as spec.aspect, metadata.time_mismatch, policy.ai_generated"),
            ("detail?", Text, "both values in a sentence"),
        ),
        partitioned=True,
    ),
    Table(
        "consent_submissions",
        "Signed consent events as they came with deliveries, before the ledger judged them.",
        ("delivery_id", "event_sha256"),
        _columns(
            ("delivery_id", Text, "delivery that carried it"),
            ("received_day", Text, "partition"),
            ("event_sha256", Text, "SHA-256 of the envelope as received"),
            ("envelope_json", Text, "the signed envelope as received"),
        ),
        partitioned=True,
    ),
    Table(
        "consent_events",
        "The ledger's admitted events in order, flattened.",
        ("seq",),
        _columns(
            ("seq", Int, "order in the ledger, from 0"),
            ("event_id", Text, "identity of the event"),
            (
                "consent_id",
                Text,
                "the consent it belongs to, empty for none; people choose it, so it is one's own only",
            ),
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
            (
                "assets",
                Texts,
                "SHA-256 digests covered or disputed: of a file's bytes or frames, or of a clip's frames",
            ),
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
        _columns(
            ("event_sha256", Text, "SHA-256 of the envelope"),
            ("rule", Text, "name of the rule"),
            ("detail", Text, "what was wrong"),
            ("refused_at", Text, "UTC time"),
        ),
    ),
    Table(
        "reviews",
        "What reviewers decided, one row a reviewer and clip; a review of other bytes or people is void.",
        ("clip_id", "item_id", "shot_index", "reviewer_id", "round"),
        _columns(
            *_OF_CLIP,
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
        ),
    ),
    Table(
        "eligibility",
        "Whether consent, people and reviews allow a clip's use; default is no.",
        ("clip_id", "item_id", "shot_index", "purpose"),
        _columns(
            *_OF_CLIP,
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
        _columns(
            ("day", Text, "partition: UTC day of the decision, YYYY-MM-DD"),
            ("purpose", Text, "scope asked about"),
            ("reason", Text, "eligible, not_eligible, or a code against the use"),
            ("clips", Int, "how many clips"),
        ),
        partitioned=True,
    ),
    Table(
        "snapshot_members",
        "Members of the latest sealed training snapshot.",
        ("clip_id",),
        _columns(
            ("snapshot_root", Text, "Merkle root of the snapshot"),
            *_OF_CLIP,
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
        "samples",
        "Generated videos of the latest model version.",
        ("sample_id",),
        _columns(
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
        _columns(
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

TABLES: dict[str, Table] = {table.name: table for table in _ALL}
