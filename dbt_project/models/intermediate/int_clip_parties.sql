-- Everybody whose consent a clip needs, the role in which it must be given, and the code when it is missing. A minor's
-- comes from a guardian, and somebody with a guardian is a minor, whatever the delivery declares.

with clips as (

    select * from {{ ref('int_clips') }}

),

persons as (

    select * from {{ ref('int_clip_persons') }}
    where is_identifiable

),

minors as (

    select distinct minor_id from {{ ref('int_guardians') }}

),

properties as (

    select * from {{ ref('int_clip_properties') }}

),

people as (

    select distinct
        persons.item_id,
        persons.person_id,
        persons.is_minor or minors.minor_id is not null as is_minor

    from persons
    left join minors on persons.person_id = minors.minor_id

)

select
    clip_id,
    item_id,
    shot_index,
    coalesce(contributor_id, '') as party_id,
    'contributor' as role,
    'consent.none' as missing_code

from clips

union all

select
    clips.clip_id,
    clips.item_id,
    clips.shot_index,
    people.person_id as party_id,
    case when people.is_minor then 'guardian' else 'depicted' end as role,
    case when people.is_minor then 'legal.minor_no_guardian' else 'legal.missing_model_release' end as missing_code

from clips
inner join people on clips.item_id = people.item_id

union all

select distinct
    clips.clip_id,
    clips.item_id,
    clips.shot_index,
    properties.owner_id as party_id,
    'property_owner' as role,
    'legal.property_release' as missing_code

from clips
inner join properties on clips.item_id = properties.item_id
