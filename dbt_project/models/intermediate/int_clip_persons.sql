-- Everybody whom the contributor names in a delivered file. Not said to be unidentifiable means identifiable.

with items as (

    select * from {{ ref('stg_delivery_items') }}

),

listed as (

    select
        item_id,
        contributor_id,
        unnest(
            from_json(persons_json, '[{"person_id": "VARCHAR", "identifiable": "BOOLEAN", "minor": "BOOLEAN"}]')
        ) as person

    from items

)

select
    item_id,
    contributor_id,
    person.person_id as person_id,
    coalesce(person.identifiable, true) as is_identifiable,
    coalesce(person.minor, false) as is_minor

from listed
