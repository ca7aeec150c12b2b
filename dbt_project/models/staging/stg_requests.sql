with source as (

    select * from {{ source('lake', 'requests') }}

),

renamed as (

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
        cast(opens_at as timestamp) as opens_at,
        cast(deadline_at as timestamp) as deadline_at,
        origin,
        origin_ref,
        criteria_json,
        not_understood

    from source

)

select * from renamed
