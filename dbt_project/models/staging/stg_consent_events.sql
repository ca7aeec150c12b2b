with source as (

    select * from {{ source('lake', 'consent_events') }}

),

renamed as (

    select
        seq,
        event_id,
        consent_id,
        type as event_type,
        party_id,
        role,
        actor,
        cast(effective_at as timestamp) as effective_at,
        cast(recorded_at as timestamp) as recorded_at,
        cast(expires_at as timestamp) as expires_at,
        scopes,
        territories,
        assets as asset_digests,
        leaf_hash

    from source

)

select * from renamed
