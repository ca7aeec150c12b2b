with source as (

    select * from {{ source('lake', 'eligibility') }}

),

renamed as (

    select
        clip_id,
        item_id,
        shot_index,
        purpose,
        eligible as is_eligible,
        reasons,
        consent_ids,
        decision_digest

    from source

)

select * from renamed
