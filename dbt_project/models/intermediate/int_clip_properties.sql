-- Whose recognisable property a delivered file shows, as its contributor declares.

with items as (

    select * from {{ ref('stg_delivery_items') }}

),

listed as (

    select
        item_id,
        unnest(from_json(properties_json, '[{"owner_id": "VARCHAR", "what": "VARCHAR"}]')) as property

    from items

)

select
    item_id,
    property.owner_id as owner_id,
    property.what as property_shown

from listed
