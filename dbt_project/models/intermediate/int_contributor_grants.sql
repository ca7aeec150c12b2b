-- Clips whose contributor ever granted training on them. A later revocation changes nothing here: it stops training,
-- it takes back no money.

with clips as (

    select * from {{ ref('int_clips') }}

),

grants as (

    select
        party_id,
        unnest(asset_digests) as asset_digest

    from {{ ref('stg_consent_events') }}
    where event_type in ('grant', 'amend') and role = 'contributor' and list_contains(scopes, 'train')

)

select distinct
    clips.clip_id,
    clips.item_id,
    clips.shot_index

from clips
inner join grants
    on
        clips.contributor_id = grants.party_id
        and grants.asset_digest in (clips.clip_id, clips.bytes_sha256, clips.frames_sha256)
