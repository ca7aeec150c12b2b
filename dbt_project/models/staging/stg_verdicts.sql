with source as (

    select * from {{ source('lake', 'verdicts') }}

),

renamed as (

    select
        clip_id,
        item_id,
        shot_index,
        received_day,
        "check" as check_name,
        check_version,
        value,
        unit,
        threshold,
        verdict,
        severity,
        reason,
        detail

    from source

)

select * from renamed
