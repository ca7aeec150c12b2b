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
        cast(issued_at as timestamp) as issued_at,
        cast(effective_at as timestamp) as effective_at,
        cast(recorded_at as timestamp) as recorded_at,
        cast(expires_at as timestamp) as expires_at,
        scopes,
        territories,
        recipients,
        assets as asset_digests,
        guardian_id,
        dispute_id,
        outcome,
        leaf_hash

    from source

)

select * from renamed
