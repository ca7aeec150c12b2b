-- What became of each clip, with all reasons. Two tracks: what misses its brief but is good and agreed to goes to the
-- catalogue. A delivered file fills at most one slot of a request, first come first served within target, budget and the
-- most that one contributor may fill.

with clips as (

    select * from {{ ref('int_clips') }}

),

checks as (

    select * from {{ ref('int_clip_checks') }}

),

reviews as (

    select * from {{ ref('int_clip_reviews') }}

),

briefs as (

    select * from {{ ref('int_brief_check') }}

),

granted as (

    select * from {{ ref('int_contributor_grants') }}

),

requests as (

    select * from {{ ref('stg_requests') }}

),

judged as (

    select
        clips.clip_key,
        clips.item_id,
        clips.shot_index,
        clips.contributor_id,
        clips.request_id,
        clips.received_at,
        list_sort(list_distinct(list_concat(
            coalesce(checks.fatal_reasons, []),
            case
                when coalesce(reviews.rejections_for_good, 0) > 0
                    then list_concat(reviews.rejection_reasons, ['review.rejected'])
                else []
            end,
            case when clips.is_accepted_media then [] else ['media.not_accepted'] end
        ))) as rejected_for,
        list_sort(list_distinct(list_concat(
            coalesce(checks.open_reasons, []),
            case when checks.clip_key is null or checks.checks_made = 0 then ['verdict.missing'] else [] end,
            case when coalesce(checks.is_resolved, false) then [] else ['dup.unresolved'] end,
            case when coalesce(reviews.approvals_given, 0) < {{ var('approvals_needed') }} then ['review.pending'] else [] end,
            case when granted.clip_key is null then ['consent.never_granted'] else [] end
        ))) as waiting_for,
        list_sort(list_distinct(list_concat(
            case when clips.request_id is null then ['request.none'] else [] end,
            -- what a reviewer finds not good enough, and nothing worse, misses its brief
            case when coalesce(reviews.rejections_for_good, 0) = 0 then coalesce(reviews.rejection_reasons, []) else [] end,
            coalesce(briefs.brief_reasons, []),
            coalesce(checks.quality_reasons, [])
        ))) as misses

    from clips
    left join checks on clips.clip_key = checks.clip_key
    left join reviews on clips.clip_key = reviews.clip_key
    left join briefs on clips.clip_key = briefs.clip_key
    left join granted on clips.clip_key = granted.clip_key

),

fitting as (

    select *
    from judged
    where len(rejected_for) = 0 and len(waiting_for) = 0 and len(misses) = 0
    -- a file is one unit, however many shots were found in it
    qualify row_number() over (partition by item_id order by shot_index) = 1

),

within_share as (

    select
        fitting.*,
        requests.target_units,
        requests.price_minor,
        requests.budget_minor

    from fitting
    inner join requests on fitting.request_id = requests.request_id
    qualify
        row_number() over (
            partition by fitting.request_id, fitting.contributor_id order by fitting.received_at, fitting.item_id
        ) <= coalesce(requests.max_per_contributor, requests.target_units)

),

slots as (

    select clip_key from within_share
    qualify
        row_number() over (partition by request_id order by received_at, item_id)
        <= least(target_units, case when price_minor > 0 then budget_minor // price_minor else target_units end)

)

select
    judged.clip_key,
    case
        when len(judged.rejected_for) > 0 then 'rejected'
        when len(judged.waiting_for) > 0 then 'waiting'
        when slots.clip_key is not null then 'accepted_request'
        else 'accepted_catalogue'
    end as outcome,
    list_sort(list_concat(
        judged.rejected_for,
        judged.waiting_for,
        judged.misses,
        case
            when len(judged.rejected_for) + len(judged.waiting_for) + len(judged.misses) > 0 or slots.clip_key is not null
                then []
            when fitting.clip_key is null then ['capacity.same_file']
            when within_share.clip_key is null then ['capacity.over_quota']
            else ['capacity.request_filled']
        end
    )) as reasons

from judged
left join fitting on judged.clip_key = fitting.clip_key
left join within_share on judged.clip_key = within_share.clip_key
left join slots on judged.clip_key = slots.clip_key
