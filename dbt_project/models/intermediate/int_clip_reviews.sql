-- Each reviewer's last word on a clip, counted by organisation. Nobody judges what concerns them: neither the contributor,
-- nor somebody in the picture or their guardian, nor an owner of what is seen, nor anybody of the organisation that pays.
-- `approvals` and `rejections` are those that still bind (same bytes, people and consents as were seen);
-- `approvals_given` counts the organisations that ever approved, or objected to nothing that the catalogue minds: work that
-- was approved stays payable.

with reviews as (

    select * from {{ ref('stg_reviews') }}

),

clips as (

    select * from {{ ref('int_clips') }}

),

persons as (

    select * from {{ ref('int_clip_persons') }}

),

guardians as (

    select * from {{ ref('int_guardians') }}

),

properties as (

    select * from {{ ref('int_clip_properties') }}

),

requests as (

    select * from {{ ref('stg_requests') }}

),

concerned as (

    select item_id, contributor_id as party_id from clips
    union
    select item_id, person_id from persons
    union
    select persons.item_id, guardians.guardian_id
    from persons
    inner join guardians on persons.person_id = guardians.minor_id
    union
    select item_id, owner_id from properties

),

independent as (

    select reviews.*
    from reviews
    inner join clips
        on
            reviews.clip_id = clips.clip_id
            and reviews.item_id = clips.item_id
            and reviews.shot_index = clips.shot_index
    left join requests on clips.request_id = requests.request_id
    where
        reviews.is_independent
        and reviews.organisation is distinct from lower(trim(requests.org_id))
        and not exists (
            select 1
            from concerned
            where
                concerned.item_id = reviews.item_id
                and lower(concerned.party_id) in (lower(reviews.reviewer_id), reviews.organisation)
        )

),

last_word as (

    select
        *,
        -- quality, specification and capacity are what the catalogue does not mind
        review_verdict = 'approve' or len(list_filter(
            review_reasons,
            lambda code: not list_contains(['quality', 'spec', 'capacity'], split_part(code, '.', 1))
        )) = 0 as is_fit_for_catalogue

    from independent
    qualify
        row_number() over (partition by clip_id, item_id, shot_index, reviewer_id order by review_round desc) = 1

),

marked as (

    select
        clip_id,
        item_id,
        shot_index,
        organisation,
        max(non_identifiable) as non_identifiable

    from last_word
    where is_valid
    group by all

),

agreed as (

    select
        clip_id,
        item_id,
        shot_index,
        -- somebody is not identifiable as far as two organisations say so
        coalesce(list_reverse_sort(list(non_identifiable))[2], 0) as non_identifiable

    from marked
    group by all

),

counted as (

    select
        clip_id,
        item_id,
        shot_index,
        count(distinct organisation) filter (where is_valid and is_counted and review_verdict = 'approve') as approvals,
        count(distinct reviewer_id) filter (where is_valid and is_counted and review_verdict = 'reject') as rejections,
        count(distinct reviewer_id) filter (
            where is_valid and is_counted and not is_fit_for_catalogue
        ) as rejections_for_good,
        count(distinct organisation) filter (where is_fit_for_catalogue) as approvals_given,
        coalesce(max(persons_counted) filter (where is_valid), 0) as persons_counted,
        list_sort(list_distinct(flatten(
            coalesce(list(review_reasons) filter (where is_valid and is_counted and review_verdict = 'reject'), [])
        ))) as rejection_reasons

    from last_word
    group by all

)

select
    counted.clip_id,
    counted.item_id,
    counted.shot_index,
    counted.approvals,
    counted.rejections,
    counted.rejections_for_good,
    counted.approvals_given,
    counted.persons_counted,
    coalesce(agreed.non_identifiable, 0) as non_identifiable,
    counted.rejection_reasons

from counted
left join agreed
    on
        counted.clip_id = agreed.clip_id
        and counted.item_id = agreed.item_id
        and counted.shot_index = agreed.shot_index
