-- Two implementations of the consent rules, in Python and here, must give one answer: the same consents, and the same codes
-- of consent, people and disputes. Nothing is trained on unless both say yes; where they differ somebody should look.
{{ config(severity = 'warn', meta = {"dagster": {"ref": {"name": "mart_training_eligibility"}}}) }}

with compared as (

    select
        decisions.clip_id,
        decisions.item_id,
        decisions.shot_index,
        decisions.is_eligible,
        decisions.consent_ids as python_consent_ids,
        consent.consent_ids as sql_consent_ids,
        list_filter(
            decisions.reasons,
            lambda code:
                split_part(code, '.', 1) in ('consent', 'dispute')
                or code in (
                    'legal.missing_model_release',
                    'legal.minor_no_guardian',
                    'legal.property_release',
                    'legal.persons_unmeasurable'
                )
        ) as python_reasons,
        -- which Python counts among the checks
        list_filter(consent.reasons, lambda code: code <> 'platform.not_measured') as sql_reasons

    from {{ ref('stg_eligibility') }} as decisions
    inner join {{ ref('mart_training_eligibility') }} as mart
        on decisions.clip_id = mart.clip_id and decisions.item_id = mart.item_id and decisions.shot_index = mart.shot_index
    left join {{ ref('int_consent_decisions') }} as consent
        on
            mart.clip_id = consent.clip_id
            and mart.item_id = consent.item_id
            and mart.shot_index = consent.shot_index
            and decisions.purpose = consent.purpose

)

select *
from compared
where
    python_reasons is distinct from sql_reasons
    or (is_eligible and python_consent_ids is distinct from sql_consent_ids)
