-- What is owed for accepted clips, in double entry: the requester's account is debited (positive), the contributor's
-- credited (negative). Entries are only ever added: a clip that is withdrawn later is still paid, so nothing is taken
-- back, and a full refresh is switched off.

{{
    config(
        materialized = 'incremental',
        incremental_strategy = 'append',
        on_schema_change = 'fail',
        full_refresh = false
    )
}}

with clips as (

    select * from {{ ref('fct_clips') }}
    where outcome = 'accepted_request'

),

requests as (

    select * from {{ ref('stg_requests') }}

),

owed as (

    select
        sha256('payout/' || clips.request_id || '/' || clips.item_id) as transaction_id,
        clips.request_id,
        clips.item_id,
        clips.contributor_id,
        requests.org_id,
        requests.price_minor,
        requests.currency

    from clips
    inner join requests on clips.request_id = requests.request_id
    where requests.price_minor > 0

),

entries as (

    select
        transaction_id || '/debit' as entry_id,
        transaction_id,
        'requester:' || org_id as account,
        price_minor as amount_minor,
        currency,
        request_id,
        item_id,
        contributor_id

    from owed

    union all

    select
        transaction_id || '/credit' as entry_id,
        transaction_id,
        'contributor:' || contributor_id as account,
        -price_minor as amount_minor,
        currency,
        request_id,
        item_id,
        contributor_id

    from owed

)

select * from entries
{% if is_incremental() %}
    where transaction_id not in (select paid.transaction_id from {{ this }} as paid)
{% endif %}
order by entry_id
