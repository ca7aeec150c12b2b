-- What each grant and amendment says, and when in the decision window it is in force. Order is the ledger's: of all terms
-- that act at a moment the latest in the ledger holds. Terms act from the later of their two times, so nothing is
-- backdated; they end, exclusively, earlier than they say by what honest clocks may differ.

with events as (

    select * from {{ ref('stg_consent_events') }}
    where event_type in ('grant', 'amend')

),

decision_window as (

    select * from {{ ref('int_decision_window') }}

),

acting as (

    select
        events.seq,
        events.party_id,
        events.consent_id,
        events.role,
        events.scopes,
        events.territories,
        events.recipients,
        events.asset_digests,
        decision_window.decision_at,
        decision_window.decision_until,
        events.expires_at - interval 300 seconds as ends_at,
        greatest(events.effective_at, events.recorded_at, decision_window.decision_at) as in_force_from

    from events
    cross join decision_window

),

ordered as (

    select
        *,
        coalesce(
            in_force_from <= decision_until
            and seq = max(seq) over (
                partition by party_id, consent_id
                order by in_force_from
                range between unbounded preceding and current row
            ),
            false
        ) as is_in_force

    from acting

),

followed as (

    select
        *,
        lead(in_force_from) over (
            partition by party_id, consent_id, is_in_force
            order by in_force_from
        ) as replaced_at

    from ordered

)

select
    seq,
    party_id,
    consent_id,
    role,
    scopes,
    territories,
    recipients,
    asset_digests,
    is_in_force,
    is_in_force and in_force_from = decision_at as is_in_force_at_once,
    -- the horizon itself belongs to the window, the moment of replacement no longer to these terms
    is_in_force and coalesce(
        case when replaced_at is null then ends_at <= decision_until else ends_at < replaced_at end,
        false
    ) as lapses

from followed
