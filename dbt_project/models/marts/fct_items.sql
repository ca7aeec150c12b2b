-- Nothing that was delivered is lost: one row for each file, named by a manifest or not, with how far it came.

with items as (

    select * from {{ ref('stg_delivery_items') }}

),

media as (

    select * from {{ ref('stg_media') }}

),

clips as (

    select * from {{ ref('fct_clips') }}

),

clips_of_item as (

    select
        item_id,
        count(*) as clips,
        count(*) filter (where eligible) as eligible_clips,
        count(*) filter (where outcome = 'accepted_request') as accepted_clips,
        bool_and(outcome = 'rejected') as is_rejected,
        list_sort(list_distinct(flatten(list(outcome_reasons)))) as clip_reasons

    from clips
    group by item_id

)

select
    items.item_id,
    items.delivery_id,
    items.received_day,
    items.file_name,
    items.contributor_id,
    items.request_id,
    case
        when items.state = 'quarantined' then 'quarantined_on_receipt'
        when media.item_id is null then 'waiting_for_probe'
        when media.state = 'quarantined' then 'quarantined_by_probe'
        when clips_of_item.item_id is null then 'waiting_for_curation'
        when clips_of_item.is_rejected then 'rejected'
        else 'in_catalogue'
    end as item_state,
    list_sort(list_distinct(list_concat(
        coalesce(items.reasons, []), coalesce(media.reasons, []), coalesce(clips_of_item.clip_reasons, [])
    ))) as reasons,
    coalesce(clips_of_item.clips, 0) as clips,
    coalesce(clips_of_item.accepted_clips, 0) as accepted_clips,
    coalesce(clips_of_item.eligible_clips, 0) as eligible_clips

from items
left join media on items.item_id = media.item_id
left join clips_of_item on items.item_id = clips_of_item.item_id
order by items.item_id
