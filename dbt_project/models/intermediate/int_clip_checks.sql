-- The verdicts on each clip, counted: what is against it, and what could not be said. Unmeasurable never passes; what the
-- platform failed to measure waits, and is nothing against the clip.

with verdicts as (

    select
        clip_key,
        "check" as check_name,
        verdict,
        severity,
        coalesce(reason, 'quality.' || "check" || '_' || verdict) as reason

    from {{ ref('stg_verdicts') }}
    -- the resolution of duplicates over all days replaces what a single day may have said
    where "check" <> 'duplicate'

    union all

    select
        clip_key,
        'duplicate' as check_name,
        verdict,
        'fatal' as severity,
        coalesce(reason, 'dup.' || kind) as reason

    from {{ ref('stg_duplicates') }}

)

select
    clip_key,
    count(*) filter (where check_name <> 'duplicate') as checks_made,
    count(*) filter (where severity = 'fatal' and verdict = 'fail' and check_name <> 'duplicate') as fatal_failed,
    count(*) filter (
        where severity = 'fatal' and verdict not in ('pass', 'fail') and check_name <> 'duplicate'
    ) as fatal_open,
    count(*) filter (where severity = 'quality' and verdict <> 'pass') as quality_failed,
    count(*) filter (where check_name = 'duplicate') > 0 as is_resolved,
    coalesce(bool_and(verdict = 'pass') filter (where check_name = 'duplicate'), false) as is_original,
    list_sort(list_distinct(coalesce(
        list(reason) filter (where severity = 'fatal' and verdict = 'fail'), []
    ))) as fatal_reasons,
    list_sort(list_distinct(coalesce(
        list(reason) filter (
            where (severity = 'fatal' and verdict not in ('pass', 'fail'))
            or (severity = 'quality' and verdict = 'not_measured')
        ), []
    ))) as open_reasons,
    list_sort(list_distinct(coalesce(
        list(reason) filter (where severity = 'quality' and verdict not in ('pass', 'not_measured')), []
    ))) as quality_reasons

from verdicts
group by clip_key
