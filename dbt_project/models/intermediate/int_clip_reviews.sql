-- The reviews of each clip, counted. Which of them count, and what the catalogue minds, is decided by the rules in
-- assets/consent and stored with each review. `approvals_given` are the organisations whose last word ever approved, or
-- objected to nothing that the catalogue minds: work that was approved stays payable.

with last_words as (

    select
        *,
        coalesce(fit_for_catalogue, false) as is_fit

    from {{ ref('stg_reviews') }}
    where independent and why_not is distinct from 'review.superseded'

)

select
    clip_key,
    count(*) filter (where counts and verdict = 'approve') as approvals,
    count(*) filter (where counts and verdict = 'reject') as rejections,
    count(*) filter (where counts and not is_fit) as rejections_for_good,
    count(distinct organisation) filter (where is_fit) as approvals_given,
    list_sort(list_distinct(flatten(
        coalesce(list(reasons) filter (where counts and verdict = 'reject'), [])
    ))) as rejection_reasons

from last_words
group by clip_key
