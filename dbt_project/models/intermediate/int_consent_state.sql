-- The ledger folded per consent, over the whole window from decision to horizon. Order is the ledger's. A grant or an
-- amendment acts from the later of its two times; a revocation is absorbing, whatever times it claims. Terms that begin
-- to act inside the window bind too, so only what every acting version covers is covered.

with events as (

    select * from {{ ref('stg_consent_events') }}

),

decision_window as (

    select * from {{ ref('int_decision_window') }}

),

revoked as (

    select distinct consent_id from events where event_type = 'revoke'

),

terms as (

    select
        *,
        greatest(effective_at, recorded_at) as acts_from

    from events
    where event_type in ('grant', 'amend')

),

standing as (

    select terms.*
    from terms
    cross join decision_window
    where terms.acts_from <= decision_window.decision_at
    qualify row_number() over (partition by terms.consent_id order by terms.seq desc) = 1

),

coming as (

    select terms.*
    from terms
    cross join decision_window
    where
        terms.acts_from > decision_window.decision_at
        and terms.acts_from <= decision_window.decision_until
        and terms.consent_id in (select standing.consent_id from standing)

),

acting as (

    select * from standing
    union all
    select * from coming

),

folded as (

    select
        consent_id,
        max_by(party_id, seq) as party_id,
        max_by(role, seq) as role,
        min(expires_at) as expires_at,
        list_sort(list_reduce(list(scopes order by seq), lambda a, b: list_intersect(a, b))) as scopes,
        list_sort(list_reduce(list(territories order by seq), lambda a, b: list_intersect(a, b))) as territories,
        list_sort(list_reduce(list(asset_digests order by seq), lambda a, b: list_intersect(a, b))) as asset_digests

    from acting
    group by consent_id

)

select
    folded.*,
    revoked.consent_id is not null as is_revoked,
    revoked.consent_id is null
    -- the end is exclusive and comes early by what honest clocks may differ
    and (folded.expires_at is null or folded.expires_at - interval 300 seconds > decision_window.decision_until)
        as holds_for_window

from folded
cross join decision_window
left join revoked on folded.consent_id = revoked.consent_id
