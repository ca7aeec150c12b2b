select * replace (
    cast(issued_at as timestamp) as issued_at,
    cast(effective_at as timestamp) as effective_at,
    cast(recorded_at as timestamp) as recorded_at,
    cast(expires_at as timestamp) as expires_at
)

from {{ source('lake', 'consent_events') }}
