-- Clips whose contributor ever granted training on them. A later revocation changes nothing here: it stops training,
-- it takes back no money.

with clips as (

    select
        clip_key,
        contributor_id,
        -- the names by which a consent can mean a clip: its own frames, its file's bytes, its file's frames
        unnest([clip_id, bytes_sha256, frames_sha256]) as digest

    from {{ ref('int_clips') }}

),

grants as (

    select
        party_id,
        unnest(assets) as digest

    from {{ ref('stg_consent_events') }}
    where type in ('grant', 'amend') and role = 'contributor' and list_contains(scopes, 'train')

)

-- the digest and whose it is in one join: by contributor alone, every clip of somebody meets all that they ever signed
select distinct clips.clip_key
from clips
inner join grants on clips.digest = grants.digest and clips.contributor_id = grants.party_id
