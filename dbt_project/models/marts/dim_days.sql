-- One row for each UTC day on which something was received.

with deliveries as (

    select * from {{ ref('stg_deliveries') }}

),

items as (

    select * from {{ ref('fct_items') }}

),

clips as (

    select * from {{ ref('fct_clips') }}

),

delivered as (

    select
        received_day,
        count(*) as deliveries,
        count(*) filter (where state = 'quarantined') as quarantined_deliveries

    from deliveries
    group by received_day

),

received as (

    select
        received_day,
        count(*) as items,
        count(*) filter (where item_state like 'quarantined%') as quarantined_items

    from items
    group by received_day

),

made as (

    select
        received_day,
        count(*) as clips,
        count(*) filter (where outcome = 'rejected') as rejected_clips,
        count(*) filter (where eligible) as eligible_clips,
        round(coalesce(sum(duration_s), 0), 3) as duration_s

    from clips
    group by received_day

)

select
    cast(delivered.received_day as date) as received_day,
    dayname(cast(delivered.received_day as date)) as weekday,
    delivered.deliveries,
    delivered.quarantined_deliveries,
    coalesce(received.items, 0) as items,
    coalesce(received.quarantined_items, 0) as quarantined_items,
    coalesce(made.clips, 0) as clips,
    coalesce(made.rejected_clips, 0) as rejected_clips,
    coalesce(made.eligible_clips, 0) as eligible_clips,
    coalesce(made.duration_s, 0) as duration_s

from delivered
left join received on delivered.received_day = received.received_day
left join made on delivered.received_day = made.received_day
order by delivered.received_day
