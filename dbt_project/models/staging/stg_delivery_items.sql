with source as (

    select * from {{ source('lake', 'delivery_items') }}

),

renamed as (

    select
        item_id,
        delivery_id,
        received_day,
        position as item_position,
        file_name,
        contributor_id,
        request_id,
        declared_subject,
        declared_location,
        declared_time_of_day,
        declared_width,
        declared_height,
        declared_aspect_ratio,
        declared_duration_s,
        try_cast(captured_at as timestamp) as captured_at,
        latitude,
        longitude,
        device,
        persons_json,
        properties_json,
        source_name,
        source_licence,
        state as item_state,
        reasons as item_reasons

    from source

)

select * from renamed
