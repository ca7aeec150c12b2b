-- For each clip, use and party who is asked: does this party's consent cover the clip, by which consents, and if not, why?
-- One consent has to cover a scope over the whole window by itself; scopes may be covered by different ones.

with parties as (

    select * from {{ ref('int_clip_parties') }}

),

clip_digests as (

    select * from {{ ref('int_clip_digests') }}

),

answers as (

    select * from {{ ref('int_consent_answers') }}

),

named as (

    select
        party_id,
        role,
        consent_id,
        seq,
        is_in_force,
        unnest(asset_digests) as asset_digest

    from {{ ref('int_consent_terms') }}

),

-- materialized, so that a party and a digest are looked up together: by party alone, every clip of a contributor would meet
-- all that they ever signed
asked as materialized (

    select
        parties.clip_id,
        parties.item_id,
        parties.shot_index,
        parties.party_id,
        parties.role,
        clip_digests.asset_digest

    from parties
    inner join clip_digests
        on
            parties.clip_id = clip_digests.clip_id
            and parties.item_id = clip_digests.item_id
            and parties.shot_index = clip_digests.shot_index

),

-- the consents that ever spoke of the clip, and how many of their terms in force do
speaking as (

    select
        asked.clip_id,
        asked.item_id,
        asked.shot_index,
        asked.party_id,
        asked.role,
        named.consent_id,
        count(distinct named.seq) filter (where named.is_in_force) as terms_naming

    from asked
    inner join named
        on
            asked.party_id = named.party_id
            and asked.role = named.role
            and asked.asset_digest = named.asset_digest
    group by all

),

objected as (

    select
        speaking.*,
        answers.purpose,
        answers.scope_asked,
        case
            when speaking.terms_naming < answers.terms_in_force then list_append(answers.objections, 'consent.none')
            else answers.objections
        end as objections

    from speaking
    inner join answers on speaking.party_id = answers.party_id and speaking.consent_id = answers.consent_id

),

by_scope as (

    select
        clip_id,
        item_id,
        shot_index,
        party_id,
        role,
        purpose,
        scope_asked,
        coalesce(list(consent_id) filter (where len(objections) = 0), []) as consent_ids,
        flatten(list(objections)) as objections

    from objected
    group by all

),

by_party as (

    select
        clip_id,
        item_id,
        shot_index,
        party_id,
        role,
        purpose,
        bool_and(len(consent_ids) > 0) as is_covered,
        flatten(list(consent_ids)) as consent_ids,
        coalesce(flatten(list(objections) filter (where len(consent_ids) = 0)), []) as objections

    from by_scope
    group by all

)

select
    parties.clip_id,
    parties.item_id,
    parties.shot_index,
    parties.party_id,
    parties.role,
    uses.purpose,
    coalesce(by_party.is_covered, false) as is_covered,
    coalesce(by_party.consent_ids, []) as consent_ids,
    case
        when by_party.is_covered then []
        when by_party.clip_id is null then [parties.missing_code]
        when parties.role = 'contributor' then by_party.objections
        else list_append(
            list_filter(by_party.objections, lambda code: code <> 'consent.none'), parties.missing_code
        )
    end as reasons

from parties
cross join {{ ref('int_uses') }} as uses
left join by_party
    on
        parties.clip_id = by_party.clip_id
        and parties.item_id = by_party.item_id
        and parties.shot_index = by_party.shot_index
        and parties.party_id = by_party.party_id
        and parties.role = by_party.role
        and uses.purpose = by_party.purpose
