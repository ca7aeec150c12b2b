with items as (

    select * from {{ ref('fct_items') }}
    where contributor_id is not null

),

clips as (

    select * from {{ ref('fct_clips') }}

),

payouts as (

    select * from {{ ref('fct_payouts') }}

),

delivered as (

    select
        contributor_id,
        min(received_day) as first_day,
        max(received_day) as last_day,
        count(distinct delivery_id) as deliveries,
        count(*) as items,
        count(*) filter (where item_state like 'quarantined%') as quarantined_items,
        count(*) filter (where item_state = 'rejected') as rejected_items

    from items
    group by contributor_id

),

made as (

    select
        contributor_id,
        count(*) as clips,
        count(*) filter (where eligible) as eligible_clips

    from clips
    group by contributor_id

),

paid as (

    select
        contributor_id,
        count(distinct transaction_id) as paid_units

    from payouts
    group by contributor_id

)

select
    delivered.contributor_id,
    delivered.first_day,
    delivered.last_day,
    delivered.deliveries,
    delivered.items,
    delivered.quarantined_items,
    delivered.rejected_items,
    coalesce(made.clips, 0) as clips,
    coalesce(made.eligible_clips, 0) as eligible_clips,
    coalesce(paid.paid_units, 0) as paid_units

from delivered
left join made on delivered.contributor_id = made.contributor_id
left join paid on delivered.contributor_id = paid.contributor_id
order by delivered.contributor_id
