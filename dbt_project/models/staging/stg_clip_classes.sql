with source as (

    select * from {{ source('lake', 'clip_classes') }}

),

renamed as (

    select
        clip_id,
        item_id,
        shot_index,
        subject,
        place,
        country,
        time_of_day,
        motion,
        camera_motion,
        aspect,
        length,
        contributor,
        length_s,
        classes_version

    from source

)

select * from renamed
