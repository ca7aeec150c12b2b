with source as (

    select * from {{ source('lake', 'consent_refusals') }}

),

renamed as (

    select
        event_sha256,
        rule,
        detail,
        cast(refused_at as timestamp) as refused_at

    from source

)

select * from renamed
