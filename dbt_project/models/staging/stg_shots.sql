with source as (

    select * from {{ source('lake', 'shots') }}

),

renamed as (

    select
        clip_id,
        item_id,
        received_day,
        bytes_sha256,
        media_key,
        shot_index,
        start_frame,
        end_frame,
        start_s,
        end_s,
        boundary,
        detector_version,
        not_measured

    from source

)

select * from renamed
