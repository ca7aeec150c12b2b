-- Does consent allow a use of a clip, over the whole window, on the ledger as it stands? The rules of
-- `training/consent/eligibility.py` in SQL, but for approvals and checks, which have models of their own: same answer, same
-- reasons, same consents. Default is no. A table, since it costs much to work out and the mart and several tests read it.

{{ config(materialized = 'table') }}

with clips as (

    select * from {{ ref('int_clips') }}

),

reviews as (

    select * from {{ ref('int_clip_reviews') }}

),

holds as (

    select * from {{ ref('int_clip_holds') }}

),

checks as (

    select * from {{ ref('int_clip_checks') }}

),

agreed as (

    select
        clip_id,
        item_id,
        shot_index,
        purpose,
        flatten(list(consent_ids)) as consent_ids,
        flatten(list(reasons)) as reasons,
        count(distinct party_id) filter (where is_covered and role in ('depicted', 'guardian')) as persons_released

    from {{ ref('int_party_answers') }}
    group by all

),

decided as (

    select
        agreed.clip_id,
        agreed.item_id,
        agreed.shot_index,
        agreed.purpose,
        agreed.persons_released,
        list_sort(list_distinct(agreed.consent_ids)) as consent_ids,
        list_sort(list_distinct(list_filter(
            list_concat(
                agreed.reasons,
                coalesce(holds.hold_codes, []),
                [
                    -- no detector, no answer: what cannot be measured never passes, nor what we failed to measure
                    case
                        when clips.faces_max is not null then null
                        when list_contains(checks.open_reasons, 'platform.not_measured') then 'platform.not_measured'
                        else 'legal.persons_unmeasurable'
                    end,
                    -- nobody is seen, by detector or reviewer, beyond the released and those whom two reviewers excused
                    case
                        when
                            greatest(coalesce(reviews.persons_counted, 0), coalesce(clips.faces_max, 0))
                            > agreed.persons_released + coalesce(reviews.non_identifiable, 0)
                            then 'legal.missing_model_release'
                    end
                ]
            ),
            lambda code: code is not null
        ))) as reasons

    from agreed
    inner join clips
        on agreed.clip_id = clips.clip_id and agreed.item_id = clips.item_id and agreed.shot_index = clips.shot_index
    left join reviews
        on
            agreed.clip_id = reviews.clip_id
            and agreed.item_id = reviews.item_id
            and agreed.shot_index = reviews.shot_index
    left join checks
        on agreed.clip_id = checks.clip_id and agreed.item_id = checks.item_id and agreed.shot_index = checks.shot_index
    left join holds
        on agreed.clip_id = holds.clip_id and agreed.item_id = holds.item_id and agreed.shot_index = holds.shot_index

)

select
    clip_id,
    item_id,
    shot_index,
    purpose,
    len(reasons) = 0 as is_covered,
    persons_released,
    case when len(reasons) = 0 then consent_ids else [] end as consent_ids,
    reasons

from decided
