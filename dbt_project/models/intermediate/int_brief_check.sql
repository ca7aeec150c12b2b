-- Does a clip meet the brief it answers? All reasons why not. Only what a machine can measure or compare is judged here;
-- whether the subject is right is for reviewers. Clips without a request have no row.

with clips as (

    select * from {{ ref('int_clips') }}
    where request_id is not null

),

requests as (

    select
        *,
        try_cast(split_part(aspect_ratio, ':', 1) as double)
        / nullif(try_cast(split_part(aspect_ratio, ':', 2) as double), 0) as aspect

    from {{ ref('stg_requests') }}

),

checked as (

    select
        clips.clip_key,
        [
            case when requests.request_id is null then 'request.unknown' end,
            case when requests.status in ('draft', 'cancelled') then 'request.not_open' end,
            case when clips.received_at < requests.opens_at then 'capacity.early' end,
            case when clips.received_at > requests.deadline_at then 'capacity.late' end,
            case
                when
                    greatest(clips.width, clips.height) < requests.min_width
                    or least(clips.width, clips.height) < requests.min_height
                    then 'spec.resolution'
            end,
            case
                when
                    abs(clips.width / nullif(clips.height, 0) / requests.aspect - 1) > {{ var('aspect_tolerance') }}
                    then 'spec.aspect'
            end,
            case
                when
                    clips.file_duration_s < requests.duration_min_s
                    or clips.file_duration_s > requests.duration_max_s
                    then 'spec.duration'
            end,
            case
                when coalesce(clips.declared_time_of_day, '') <> requests.time_of_day then 'metadata.time_mismatch'
            end,
            case
                when
                    not contains(lower(coalesce(clips.declared_location, '')), lower(requests.location))
                    then 'metadata.place_mismatch'
            end
        ] as candidates

    from clips
    left join requests on clips.request_id = requests.request_id

)

select
    clip_key,
    list_sort(list_filter(candidates, lambda reason: reason is not null)) as brief_reasons

from checked
