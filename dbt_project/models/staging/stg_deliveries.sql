select * replace (cast(received_at as timestamp) as received_at)

from {{ source('lake', 'deliveries') }}
