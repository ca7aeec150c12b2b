-- default deny: a yes rests on a yes that the rules of consent stored for this clip and purpose, and on the same consents
select mart.clip_key
from {{ ref('mart_training_eligibility') }} as mart
left join {{ ref('stg_eligibility') }} as decisions
    on mart.clip_key = decisions.clip_key and decisions.purpose = 'train' and decisions.eligible
where mart.eligible and mart.consent_ids is distinct from decisions.consent_ids
