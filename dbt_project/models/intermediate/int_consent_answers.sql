-- What each consent answers to each use and scope asked, whatever the clip: the codes of all that stands against it. Every
-- version that is in force within the window must extend to the use. A revocation acts from the earlier of its two times
-- and is absorbing; it is the party's own, for anybody may write down anybody's consent_id.

with terms as (

    select * from {{ ref('int_consent_terms') }}

),

uses as (

    select * from {{ ref('int_uses') }}

),

revoked as (

    select distinct
        events.party_id,
        events.consent_id

    from {{ ref('stg_consent_events') }} as events
    cross join {{ ref('int_decision_window') }} as decision_window
    where
        events.event_type = 'revoke'
        and least(events.effective_at, events.recorded_at) <= decision_window.decision_until

),

asked as (

    select
        terms.*,
        uses.purpose,
        uses.territory,
        uses.recipient,
        unnest(
            case
                when terms.role = 'guardian' and uses.minor_scope is not null then [uses.purpose, uses.minor_scope]
                else [uses.purpose]
            end
        ) as scope_asked

    from terms
    cross join uses

),

-- a list that is not there extends to nothing
fitting as (

    select
        *,
        coalesce(list_contains(scopes, scope_asked), false) as has_scope,
        coalesce(list_has_any(territories, ['*', territory]), false) as has_territory,
        coalesce(list_has_any(recipients, ['*', recipient]), false) as has_recipient

    from asked

),

extent as (

    select
        party_id,
        consent_id,
        purpose,
        scope_asked,
        count(*) filter (where is_in_force) as terms_in_force,
        coalesce(bool_or(is_in_force_at_once), false) as begins_in_time,
        coalesce(bool_or(lapses), true) as lapses,
        count(*) filter (where is_in_force and not has_scope) = 0 as has_scope,
        count(*) filter (where is_in_force and not has_territory) = 0 as has_territory,
        count(*) filter (where is_in_force and not has_recipient) = 0 as has_recipient

    from fitting
    group by all

)

select
    extent.party_id,
    extent.consent_id,
    extent.purpose,
    extent.scope_asked,
    extent.terms_in_force,
    list_filter(
        [
            case when revoked.consent_id is not null then 'consent.revoked' end,
            case when not extent.begins_in_time then 'consent.not_yet' end,
            case when extent.lapses then 'consent.expires' end,
            case when not extent.has_scope then 'consent.scope' end,
            case when not extent.has_territory then 'consent.territory' end,
            case when not extent.has_recipient then 'consent.recipient' end
        ],
        lambda code: code is not null
    ) as objections

from extent
left join revoked on extent.party_id = revoked.party_id and extent.consent_id = revoked.consent_id
