-- Clips whose contributor ever granted training on them. A later revocation changes nothing here: it stops training,
-- it takes back no money.

with clips as (

    select * from {{ ref('int_clips') }}

),

clip_digests as (

    select * from {{ ref('int_clip_digests') }}

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
inner join clip_digests
    on
        clips.clip_id = clip_digests.clip_id
        and clips.item_id = clip_digests.item_id
        and clips.shot_index = clip_digests.shot_index
inner join grants
    on clips.contributor_id = grants.party_id and clip_digests.asset_digest = grants.asset_digest
