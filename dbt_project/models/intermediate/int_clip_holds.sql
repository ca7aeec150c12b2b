-- Clips that a dispute holds: from the earlier of its two times until an officer dismisses it. Upheld, it holds for good.

with events as (

    select * from {{ ref('stg_consent_events') }}

),

decision_window as (

    select * from {{ ref('int_decision_window') }}

),

clip_digests as (

    select * from {{ ref('int_clip_digests') }}

),

decided as (

    select
        dispute_id,
        max_by(outcome, seq) as outcome

    from events
    where event_type = 'adjudicate'
    group by dispute_id

),

standing as (

    select
        unnest(disputes.asset_digests) as asset_digest,
        case when decided.outcome is null then 'dispute.open' else 'dispute.upheld' end as hold_code

    from events as disputes
    cross join decision_window
    left join decided on disputes.dispute_id = decided.dispute_id
    where
        disputes.event_type = 'dispute'
        and least(disputes.effective_at, disputes.recorded_at) <= decision_window.decision_until
        and decided.outcome is distinct from 'dismissed'

)

select
    clip_digests.clip_id,
    clip_digests.item_id,
    clip_digests.shot_index,
    list_sort(list(distinct standing.hold_code)) as hold_codes

from clip_digests
inner join standing on clip_digests.asset_digest = standing.asset_digest
group by all
