-- May a clip be trained on? Only when five independent witnesses agree: consent folded here in SQL, the decision that
-- the Python rules wrote, the verdicts, the reviews and the duplicate resolution. A witness that is missing is against.

with clips as (

    select * from {{ ref('int_clips') }}

),

consent as (

    select * from {{ ref('int_consent_decisions') }}
    where purpose = 'train'

),

decisions as (

    select * from {{ ref('stg_eligibility') }}
    where purpose = 'train'

),

checks as (

    select * from {{ ref('int_clip_checks') }}

),

reviews as (

    select * from {{ ref('int_clip_reviews') }}

),

duplicates as (

    select * from {{ ref('stg_duplicates') }}

),

witnesses as (

    select
        clips.clip_id,
        clips.item_id,
        clips.shot_index,
        clips.contributor_id,
        clips.bytes_sha256,
        clips.received_day,
        duplicates.dup_group,
        coalesce(decisions.consent_ids, []) as consent_ids,
        decisions.decision_digest,

        coalesce(clips.is_accepted_media, false) as media_agrees,
        coalesce(consent.is_covered, false) as consent_agrees,
        coalesce(decisions.is_eligible, false) as decision_agrees,
        coalesce(
            checks.checks_made > 0
            and checks.fatal_failed = 0
            and checks.fatal_open = 0
            and checks.quality_failed = 0,
            false
        ) as verdicts_agree,
        coalesce(checks.is_original, false) as duplicate_agrees,
        coalesce(reviews.approvals >= 2 and reviews.rejections = 0, false) as reviews_agree,

        list_concat(
            coalesce(decisions.reasons, []),
            coalesce(consent.reasons, ['consent.not_covered']),
            coalesce(checks.fatal_reasons, []),
            coalesce(checks.open_reasons, []),
            coalesce(checks.quality_reasons, []),
            [
                case when decisions.clip_id is null then 'decision.missing' end,
                case when not coalesce(clips.is_accepted_media, false) then 'media.not_accepted' end,
                case when coalesce(checks.checks_made, 0) = 0 then 'verdict.missing' end,
                case when not coalesce(checks.is_resolved, false) then 'dup.unresolved' end,
                case when coalesce(reviews.approvals, 0) < 2 then 'review.pending' end,
                case when coalesce(reviews.rejections, 0) > 0 then 'review.rejected' end
            ]
        ) as against

    from clips
    left join consent
        on
            clips.clip_id = consent.clip_id
            and clips.item_id = consent.item_id
            and clips.shot_index = consent.shot_index
    left join decisions
        on
            clips.clip_id = decisions.clip_id
            and clips.item_id = decisions.item_id
            and clips.shot_index = decisions.shot_index
    left join checks
        on clips.clip_id = checks.clip_id and clips.item_id = checks.item_id and clips.shot_index = checks.shot_index
    left join reviews
        on clips.clip_id = reviews.clip_id and clips.item_id = reviews.item_id and clips.shot_index = reviews.shot_index
    left join duplicates
        on
            clips.clip_id = duplicates.clip_id
            and clips.item_id = duplicates.item_id
            and clips.shot_index = duplicates.shot_index

)

select
    clip_id,
    item_id,
    shot_index,
    contributor_id,
    bytes_sha256,
    received_day,
    dup_group,
    media_agrees
    and consent_agrees
    and decision_agrees
    and verdicts_agree
    and duplicate_agrees
    and reviews_agree as eligible,
    media_agrees,
    consent_agrees,
    decision_agrees,
    verdicts_agree,
    duplicate_agrees,
    reviews_agree,
    list_sort(list_distinct(list_filter(against, lambda reason: reason is not null))) as reasons,
    consent_ids,
    decision_digest

from witnesses
order by clip_id, item_id, shot_index
