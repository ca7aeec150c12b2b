-- Each reviewer's last word on a clip, counted. Neither the contributor nor somebody in the picture may judge it.
-- `approvals` and `rejections` are those that still bind (same bytes, people and consents as were seen);
-- `approvals_given` counts every approval ever given by somebody who may: work that was approved stays payable.

with reviews as (

    select * from {{ ref('stg_reviews') }}

),

clips as (

    select * from {{ ref('int_clips') }}

),

persons as (

    select * from {{ ref('int_clip_persons') }}

),

independent as (

    select reviews.*
    from reviews
    inner join clips
        on
            reviews.clip_id = clips.clip_id
            and reviews.item_id = clips.item_id
            and reviews.shot_index = clips.shot_index
    left join persons on reviews.item_id = persons.item_id and reviews.reviewer_id = persons.person_id
    where reviews.reviewer_id is distinct from clips.contributor_id and persons.person_id is null

),

last_word as (

    select *
    from independent
    qualify
        row_number() over (partition by clip_id, item_id, shot_index, reviewer_id order by review_round desc) = 1

)

select
    clip_id,
    item_id,
    shot_index,
    count(distinct reviewer_id) filter (where is_valid and review_verdict = 'approve') as approvals,
    count(distinct reviewer_id) filter (where is_valid and review_verdict = 'reject') as rejections,
    count(distinct reviewer_id) filter (where review_verdict = 'approve') as approvals_given,
    coalesce(max(persons_counted) filter (where is_valid), 0) as persons_counted,
    -- somebody is not identifiable as far as two reviewers say so
    coalesce(list_reverse_sort(list(non_identifiable) filter (where is_valid))[2], 0) as non_identifiable,
    list_sort(list_distinct(flatten(
        coalesce(list(review_reasons) filter (where is_valid and review_verdict = 'reject'), [])
    ))) as rejection_reasons

from last_word
group by all
