-- default deny: a yes without every witness, or with a reason against it, must never be written
select *
from {{ ref('mart_training_eligibility') }}
where
    eligible is distinct from (
        media_agrees and consent_agrees and decision_agrees and verdicts_agree and duplicate_agrees and reviews_agree
    )
    or (eligible and len(reasons) > 0)
    or (not eligible and len(reasons) = 0)
