with source as (

    select * from {{ source('lake', 'reviews') }}

),

renamed as (

    select
        clip_id,
        item_id,
        shot_index,
        reviewer_id,
        lower(trim(organisation)) as organisation,
        round as review_round,
        digest,
        verdict as review_verdict,
        reasons as review_reasons,
        persons_counted,
        non_identifiable,
        cast(reviewed_at as timestamp) as reviewed_at,
        valid as is_valid,
        independent as is_independent,
        counts as is_counted,
        why_not

    from source

)

select * from renamed
