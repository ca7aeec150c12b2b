-- Every automatic judgement on a clip in one shape: the checks of curation and the duplicate resolution.

with verdicts as (

    select * from {{ ref('stg_verdicts') }}

),

duplicates as (

    select * from {{ ref('stg_duplicates') }}

)

select
    clip_id,
    item_id,
    shot_index,
    check_name,
    verdict,
    severity,
    coalesce(reason, 'quality.' || check_name || '_' || verdict) as reason,
    detail

from verdicts
-- the resolution of duplicates over all days replaces what a single day may have said
where check_name <> 'duplicate'

union all

select
    clip_id,
    item_id,
    shot_index,
    'duplicate' as check_name,
    duplicate_verdict as verdict,
    'fatal' as severity,
    coalesce(duplicate_reason, 'dup.' || duplicate_kind) as reason,
    'original in item ' || original_item_id as detail

from duplicates
