select * replace (cast(refused_at as timestamp) as refused_at)

from {{ source('lake', 'consent_refusals') }}
