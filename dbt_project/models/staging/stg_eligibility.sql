select
    {{ clip_key() }} as clip_key,
    *

from {{ source('lake', 'eligibility') }}
