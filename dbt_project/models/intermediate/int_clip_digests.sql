-- The names by which a consent or a dispute can mean a clip: the digest of its file's bytes, of the file's frames, or of
-- its own frames.

with clips as (

    select * from {{ ref('int_clips') }}

),

listed as (

    select
        clip_id,
        item_id,
        shot_index,
        contributor_id,
        unnest([clip_id, bytes_sha256, frames_sha256]) as asset_digest

    from clips

)

select distinct *
from listed
where asset_digest is not null
