-- The one moment (`decision_at`) and horizon (`decision_until`) that consent is judged at, so that SQL and Python agree.
-- They come as environment variables and not as vars: a changed var makes dbt parse the whole project again.

with ledger as (

    select max(recorded_at) as head_at from {{ ref('stg_consent_events') }}

),

given as (

    select
        try_cast(nullif('{{ env_var("RUSHES_DECISION_AT", "") }}', '') as timestamp) as given_at,
        try_cast(nullif('{{ env_var("RUSHES_DECISION_UNTIL", "") }}', '') as timestamp) as given_until

),

at_moment as (

    select
        given.given_until,
        coalesce(
            given.given_at,
            greatest(ledger.head_at, date_trunc('day', cast('{{ run_started_at.strftime("%Y-%m-%d %H:%M:%S") }}' as timestamp)))
        ) as decision_at

    from given
    cross join ledger

)

select
    decision_at,
    coalesce(given_until, decision_at + interval 30 days) as decision_until

from at_moment
