-- Clips whose contributor ever granted training on them. A later revocation changes nothing here: it stops training,
-- it takes back no money.

with clip_digests as (

    select * from {{ ref('int_clip_digests') }}

),

grants as (

    select
        party_id,
        unnest(asset_digests) as asset_digest

    from {{ ref('stg_consent_events') }}
    where event_type in ('grant', 'amend') and role = 'contributor' and list_contains(scopes, 'train')

)

-- the digest and whose it is in one join: by contributor alone, every clip of somebody meets all that they ever signed
select distinct
    clip_digests.clip_id,
    clip_digests.item_id,
    clip_digests.shot_index

from clip_digests
inner join grants
    on clip_digests.asset_digest = grants.asset_digest and clip_digests.contributor_id = grants.party_id
