-- The Python rules said yes and the SQL fold says no: nothing is trained on (all must agree), but somebody should look.
{{ config(severity = 'warn') }}

select *
from {{ ref('mart_training_eligibility') }}
where decision_agrees and not consent_agrees
