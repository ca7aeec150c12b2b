with clips as (

    select * from {{ ref('int_clips') }}

),

acceptance as (

    select * from {{ ref('int_clip_acceptance') }}

),

eligibility as (

    select * from {{ ref('mart_training_eligibility') }}

),

reviews as (

    select * from {{ ref('int_clip_reviews') }}

)

select
    -- identity
    clips.clip_key,
    clips.clip_id,
    clips.item_id,
    clips.shot_index,
    clips.bytes_sha256,
    clips.media_key,

    -- where it came from
    clips.delivery_id,
    clips.contributor_id,
    clips.request_id,
    clips.received_day,
    clips.received_at,
    clips.source_name,
    clips.source_licence,

    -- what it shows
    clips.caption,
    clips.declared_subject as subject,
    clips.declared_location as location,
    clips.declared_time_of_day as time_of_day,
    clips.duration_s,
    clips.width,
    clips.height,
    clips.fps,
    clips.motion_diag_per_s,
    clips.camera_motion,
    clips.luma_mean,
    clips.sharpness,
    clips.faces_max,

    -- what became of it
    acceptance.outcome,
    acceptance.reasons as outcome_reasons,
    coalesce(reviews.approvals, 0) as approvals,
    coalesce(reviews.rejections, 0) as rejections,
    coalesce(eligibility.eligible, false) as eligible,
    coalesce(eligibility.reasons, []) as eligibility_reasons

from clips
left join acceptance on clips.clip_key = acceptance.clip_key
left join eligibility on clips.clip_key = eligibility.clip_key
left join reviews on clips.clip_key = reviews.clip_key
order by clips.clip_id, clips.item_id, clips.shot_index
