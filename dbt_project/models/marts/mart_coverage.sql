-- How much footage there is of each class, and how much of it may be trained on. Classes of closed lists appear even when
-- they are empty, and so do the times of day of the largest subjects: what nobody shot is what a request should ask for.
-- Withdrawn clips have no class and count nowhere.

{% set dimensions = [
    'subject', 'place', 'country', 'time_of_day', 'motion', 'camera_motion', 'aspect', 'length', 'contributor'
] %}

with clips as (

    select
        classes.*,
        fct_clips.duration_s,
        fct_clips.eligible

    from {{ ref('stg_clip_classes') }} as classes
    inner join {{ ref('fct_clips') }} as fct_clips
        on classes.clip_key = fct_clips.clip_key

),

largest_subjects as (

    select subject
    from clips
    where eligible and subject <> 'unknown'
    group by subject
    order by count(distinct clip_id) desc, subject
    limit 10

),

listed as (

    {% for dimension, names in var('classes').items() %}
    select
        '{{ dimension }}' as dimension,
        unnest({{ names }}) as slice

    union all

    {% endfor %}
    select
        'subject x time_of_day' as dimension,
        subject || ' | ' || unnest({{ var('classes')['time_of_day'] }}) as slice
    from largest_subjects

),

sliced as (

    {% for dimension in dimensions %}
    select
        '{{ dimension }}' as dimension,
        {{ dimension }} as slice,
        clip_id,
        duration_s,
        eligible
    from clips

    union all

    {% endfor %}
    select
        'subject x time_of_day' as dimension,
        clips.subject || ' | ' || clips.time_of_day as slice,
        clips.clip_id,
        clips.duration_s,
        clips.eligible
    from clips
    inner join largest_subjects on clips.subject = largest_subjects.subject

),

counted as (

    select
        dimension,
        slice,
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
