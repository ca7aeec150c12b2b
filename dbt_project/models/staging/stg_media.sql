select *

from {{ source('lake', 'media') }}
