select * replace (try_cast(captured_at as timestamp) as captured_at)

from {{ source('lake', 'delivery_items') }}
