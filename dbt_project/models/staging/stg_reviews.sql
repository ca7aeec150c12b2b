select
    {{ clip_key() }} as clip_key,
    * replace (cast(reviewed_at as timestamp) as reviewed_at, lower(trim(organisation)) as organisation)

from {{ source('lake', 'reviews') }}
