select *
from {{ ref('fct_request_fulfilment') }}
where accepted_units > target_units or committed_minor > budget_minor
