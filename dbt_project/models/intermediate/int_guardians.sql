-- Who may sign for whom as the ledger stands: the last word on each pair. Whoever has a guardian is a minor.

with events as (

    select * from {{ ref('stg_consent_events') }}
    where event_type in ('guardian', 'end_guardian')

)

select
    party_id as minor_id,
    guardian_id

from events
group by party_id, guardian_id
having max_by(event_type, seq) = 'guardian'
