with source as (

    select * from {{ source('lake', 'captions') }}

),

renamed as (

    select
        clip_id,
        item_id,
        shot_index,
        received_day,
        kind as caption_kind,
        variant as caption_variant,
        text as caption,
        sources_json,
        captioner,
        refused

    from source

)

select * from renamed
