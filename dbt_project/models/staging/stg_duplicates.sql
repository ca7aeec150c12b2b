with source as (

    select * from {{ source('lake', 'duplicates') }}

),

renamed as (

    select
        clip_id,
        item_id,
        shot_index,
        dup_group,
        original_item_id,
        kind as duplicate_kind,
        distance,
        verdict as duplicate_verdict,
        reason as duplicate_reason,
        duplicates_version

    from source

)

select * from renamed
