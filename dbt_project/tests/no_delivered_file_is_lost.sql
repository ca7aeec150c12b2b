-- received = quarantined + waiting + rejected + in the catalogue: every file of the lake has its row
{{ config(meta = {"dagster": {"ref": {"name": "fct_items"}}}) }}

select items.item_id
from {{ ref('stg_delivery_items') }} as items
left join {{ ref('fct_items') }} as facts on items.item_id = facts.item_id
where facts.item_id is null
