-- May a clip be trained on? Only where the decision that the rules of consent stored says yes, and every witness it rests
-- on says the same here: the file, the verdicts, the duplicate resolution and the reviews. What is missing is against.

with clips as (

    select * from {{ ref('int_clips') }}

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
        clips.*,
        duplicates.dup_group,
        coalesce(decisions.consent_ids, []) as consent_ids,
        decisions.decision_digest,

        coalesce(clips.is_accepted_media, false) as media_agrees,
        coalesce(
            len(list_filter(
                decisions.reasons, lambda code: split_part(code, '.', 1) in ('consent', 'dispute', 'legal')
            )) = 0,
            false
        ) as consent_agrees,
        coalesce(decisions.eligible and len(decisions.reasons) = 0, false) as decision_agrees,
        coalesce(
            checks.checks_made > 0
            and checks.fatal_failed = 0
            and checks.fatal_open = 0
            and checks.quality_failed = 0,
            false
        ) as verdicts_agree,
        coalesce(checks.is_original, false) as duplicate_agrees,
        coalesce(reviews.approvals >= {{ var('approvals_needed') }} and reviews.rejections = 0, false) as reviews_agree,

        list_concat(
            coalesce(decisions.reasons, []),
            coalesce(checks.fatal_reasons, []),
            coalesce(checks.open_reasons, []),
            coalesce(checks.quality_reasons, []),
            [
                case when decisions.clip_key is null then 'decision.missing' end,
                case when not coalesce(clips.is_accepted_media, false) then 'media.not_accepted' end,
                case when coalesce(checks.checks_made, 0) = 0 then 'verdict.missing' end,
                case when not coalesce(checks.is_resolved, false) then 'dup.unresolved' end,
                case when coalesce(reviews.approvals, 0) < {{ var('approvals_needed') }} then 'review.pending' end,
                case when coalesce(reviews.rejections, 0) > 0 then 'review.rejected' end
            ]
        ) as against

    from clips
    left join decisions on clips.clip_key = decisions.clip_key
    left join checks on clips.clip_key = checks.clip_key
    left join reviews on clips.clip_key = reviews.clip_key
    left join duplicates on clips.clip_key = duplicates.clip_key

)

select
    clip_key,
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
