-- every payout is two entries that add up to nothing
select
    transaction_id,
    sum(amount_minor) as balance_minor

from {{ ref('fct_payouts') }}
group by transaction_id
having sum(amount_minor) <> 0 or count(*) <> 2
