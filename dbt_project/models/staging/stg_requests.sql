select * replace (cast(opens_at as timestamp) as opens_at, cast(deadline_at as timestamp) as deadline_at)

from {{ source('lake', 'requests') }}
