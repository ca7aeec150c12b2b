-- Reviews are counted in Python and here; where the two differ, somebody who may not judge was let through by one of them.
{{ config(severity = 'warn', meta = {"dagster": {"ref": {"name": "mart_training_eligibility"}}}) }}

with python as (

    select
        clip_id,
        item_id,
        shot_index,
        count(*) filter (where is_counted and review_verdict = 'approve') as approvals,
        count(*) filter (where is_counted and review_verdict = 'reject') as rejections

    from {{ ref('stg_reviews') }}
    group by all

)

select
    python.*,
    counted.approvals as sql_approvals,
    counted.rejections as sql_rejections

from python
inner join {{ ref('mart_training_eligibility') }} as mart
    on python.clip_id = mart.clip_id and python.item_id = mart.item_id and python.shot_index = mart.shot_index
left join {{ ref('int_clip_reviews') }} as counted
    on python.clip_id = counted.clip_id and python.item_id = counted.item_id and python.shot_index = counted.shot_index
where
    python.approvals is distinct from coalesce(counted.approvals, 0)
    or python.rejections is distinct from coalesce(counted.rejections, 0)
