-- The spine: one row a clip (a shot of an accepted file), with what was declared and what was measured.

with shots as (

    select * from {{ ref('stg_shots') }}

),

items as (

    select * from {{ ref('stg_delivery_items') }}

),

deliveries as (

    select * from {{ ref('stg_deliveries') }}

),

media as (

    select * from {{ ref('stg_media') }}

),

signals as (

    select * from {{ ref('stg_signals') }}

),

captions as (

    select * from {{ ref('stg_captions') }}
    where kind = 'short' and variant = 0 and captioner like 'structured/%'

)

select
    -- identity
    shots.clip_key,
    shots.clip_id,
    shots.item_id,
    shots.shot_index,
    shots.received_day,
    shots.bytes_sha256,
    shots.media_key,
    media.frames_sha256,

    -- where it came from
    items.delivery_id,
    items.contributor_id,
    items.request_id,
    deliveries.received_at,
    items.source_name,
    items.source_licence,
    coalesce(items.state = 'accepted' and media.state = 'accepted', false) as is_accepted_media,

    -- declared
    items.declared_subject,
    items.declared_location,
    items.declared_time_of_day,

    -- measured
    shots.end_s - shots.start_s as duration_s,
    media.duration_s as file_duration_s,
    media.width,
    media.height,
    media.fps,
    signals.motion_diag_per_s,
    signals.camera_motion,
    signals.luma_mean,
    signals.sharpness,
    signals.faces_max,
    captions.text as caption

from shots
inner join items on shots.item_id = items.item_id
left join deliveries on items.delivery_id = deliveries.delivery_id
left join media on shots.item_id = media.item_id
left join signals on shots.clip_key = signals.clip_key
left join captions on shots.clip_key = captions.clip_key
