with source as (

    select * from {{ source('lake', 'deliveries') }}

),

renamed as (

    select
        delivery_id,
        received_day,
        cast(received_at as timestamp) as received_at,
        folder,
        contributor_id,
        request_id,
        manifest_sha256,
        items_declared,
        state as delivery_state,
        reasons as delivery_reasons

    from source

)

select * from renamed
