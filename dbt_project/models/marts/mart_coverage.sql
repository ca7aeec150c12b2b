-- How much footage there is in each slice, and how much of it may be trained on. Slices of closed lists appear even when
-- they are empty: what nobody shot is what a request should ask for.

with clips as (

    select * from {{ ref('fct_clips') }}

),

listed as (

    select
        'time_of_day' as dimension,
        unnest(['night', 'dawn', 'morning', 'day', 'evening', 'sunset', 'dusk']) as slice

    union all

    select
        'camera_motion' as dimension,
        unnest(['static', 'pan', 'tilt', 'zoom', 'roll', 'handheld']) as slice

    union all

    select
        'shape' as dimension,
        unnest(['portrait', 'square', 'landscape', 'wide']) as slice

    union all

    select
        'length' as dimension,
        unnest(['under 3 s', '3 to 10 s', 'over 10 s']) as slice

),

sliced as (

    select 'subject' as dimension, lower(subject) as slice, clip_id, duration_s, eligible from clips
    union all
    select 'location', lower(location), clip_id, duration_s, eligible from clips
    union all
    select 'time_of_day', time_of_day, clip_id, duration_s, eligible from clips
    union all
    select 'camera_motion', camera_motion, clip_id, duration_s, eligible from clips
    union all
    select
        'shape',
        case
            when width < height * 0.95 then 'portrait'
            when width <= height * 1.05 then 'square'
            when width <= height * 1.9 then 'landscape'
            when width > height * 1.9 then 'wide'
        end,
        clip_id,
        duration_s,
        eligible
    from clips
    union all
    select
        'length',
        case
            when duration_s < 3 then 'under 3 s'
            when duration_s <= 10 then '3 to 10 s'
            else 'over 10 s'
        end,
        clip_id,
        duration_s,
        eligible
    from clips

),

counted as (

    select
        dimension,
        coalesce(slice, 'unknown') as slice,
        count(distinct clip_id) as clips,
        count(distinct clip_id) filter (where eligible) as eligible_clips,
        coalesce(sum(duration_s) filter (where eligible), 0) as eligible_duration_s

    from sliced
    group by all

)

select
    coalesce(counted.dimension, listed.dimension) as dimension,
    coalesce(counted.slice, listed.slice) as slice,
    coalesce(counted.clips, 0) as clips,
    coalesce(counted.eligible_clips, 0) as eligible_clips,
    round(coalesce(counted.eligible_duration_s, 0), 3) as eligible_duration_s,
    coalesce(
        round(
            counted.eligible_clips
            / nullif(sum(counted.eligible_clips) over (partition by coalesce(counted.dimension, listed.dimension)), 0),
            6
        ),
        0
    ) as eligible_share

from counted
full outer join listed on counted.dimension = listed.dimension and counted.slice = listed.slice
order by dimension, slice
