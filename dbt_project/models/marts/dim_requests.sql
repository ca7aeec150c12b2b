with requests as (

    select * from {{ ref('stg_requests') }}

)

select
    request_id,
    org_id,
    title,
    status as request_status,
    subject,
    location,
    time_of_day,
    min_width,
    min_height,
    aspect_ratio,
    duration_min_s,
    duration_max_s,
    target_units,
    max_per_contributor,
    price_minor,
    budget_minor,
    currency,
    opens_at,
    deadline_at,
    origin,
    origin_ref,
    not_understood

from requests
order by request_id
