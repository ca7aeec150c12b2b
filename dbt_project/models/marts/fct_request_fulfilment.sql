-- How far each request is filled. Accepted units stay accepted when consent is withdrawn; eligible units do not.

with requests as (

    select * from {{ ref('stg_requests') }}

),

clips as (

    select * from {{ ref('fct_clips') }}
    where request_id is not null

),

counted as (

    select
        request_id,
        count(distinct item_id) as delivered_units,
        count(distinct item_id) filter (where outcome = 'accepted_request') as accepted_units,
        count(distinct item_id) filter (where outcome = 'accepted_request' and eligible) as eligible_units,
        count(distinct item_id) filter (where outcome = 'accepted_catalogue') as catalogue_units,
        count(distinct item_id) filter (where outcome = 'waiting') as waiting_units,
        count(distinct item_id) filter (where outcome = 'rejected') as rejected_units

    from clips
    group by request_id

),

filled as (

    select
        requests.*,
        coalesce(counted.delivered_units, 0) as delivered_units,
        coalesce(counted.accepted_units, 0) as accepted_units,
        coalesce(counted.eligible_units, 0) as eligible_units,
        coalesce(counted.catalogue_units, 0) as catalogue_units,
        coalesce(counted.waiting_units, 0) as waiting_units,
        coalesce(counted.rejected_units, 0) as rejected_units

    from requests
    left join counted on requests.request_id = counted.request_id

)

select
    request_id,
    org_id,
    title,
    status as request_status,
    case
        when accepted_units >= target_units then 'filled'
        when accepted_units > 0 then 'partially_filled'
        else 'unfilled'
    end as fulfilment,
    target_units,
    delivered_units,
    accepted_units,
    eligible_units,
    catalogue_units,
    waiting_units,
    rejected_units,
    greatest(target_units - accepted_units, 0) as missing_units,
    price_minor,
    budget_minor,
    accepted_units * price_minor as committed_minor,
    budget_minor - accepted_units * price_minor as remaining_minor,
    currency

from filled
order by request_id
