-- For each clip: does consent cover training on it, from everyone it must come from, for the whole window?

with clips as (

    select * from {{ ref('int_clips') }}

),

guarded as (

    select distinct party_id
    from {{ ref('stg_consent_events') }}
    where event_type in ('grant', 'amend') and role = 'guardian'

),

-- whoever has a guardian is a minor, whatever the delivery declares
persons as (

    select
        persons.item_id,
        persons.person_id,
        persons.is_identifiable,
        persons.is_minor or guarded.party_id is not null as is_minor

    from {{ ref('int_clip_persons') }} as persons
    left join guarded on persons.person_id = guarded.party_id

),

consents as (

    select * from {{ ref('int_consent_state') }}

),

-- a consent names a clip by the digest of its file's bytes, of the file's frames or of its own frames
clip_consents as (

    select
        clips.clip_id,
        clips.item_id,
        clips.shot_index,
        clips.contributor_id,
        consents.consent_id,
        consents.party_id,
        consents.role,
        consents.scopes

    from clips
    inner join consents
        on
            list_contains(consents.asset_digests, clips.clip_id)
            or list_contains(consents.asset_digests, clips.bytes_sha256)
            or list_contains(consents.asset_digests, clips.frames_sha256)
    where consents.holds_for_window and list_contains(consents.territories, '*')

),

contributor_consents as (

    select
        clip_id,
        item_id,
        shot_index,
        list_sort(list(distinct consent_id)) as consent_ids

    from clip_consents
    where role = 'contributor' and party_id = contributor_id and list_contains(scopes, 'train')
    group by all

),

releases as (

    select
        clips.clip_id,
        clips.item_id,
        clips.shot_index,
        persons.person_id,
        persons.is_identifiable,
        -- a child's release comes from a guardian, for that purpose by name
        coalesce(bool_or(
            case
                when persons.is_minor
                    then clip_consents.role = 'guardian' and list_has_all(clip_consents.scopes, ['train', 'train_minor'])
                else clip_consents.role = 'depicted' and list_contains(clip_consents.scopes, 'train')
            end
        ), false) as is_released

    from clips
    inner join persons on clips.item_id = persons.item_id
    left join clip_consents
        on
            clips.clip_id = clip_consents.clip_id
            and clips.item_id = clip_consents.item_id
            and clips.shot_index = clip_consents.shot_index
            and persons.person_id = clip_consents.party_id
    group by all

),

people as (

    select
        clip_id,
        item_id,
        shot_index,
        count(*) filter (where is_released and is_identifiable) as persons_released,
        count(*) filter (where is_identifiable and not is_released) as persons_unreleased

    from releases
    group by all

)

select
    clips.clip_id,
    clips.item_id,
    clips.shot_index,
    coalesce(contributor_consents.consent_ids, []) as contributor_consent_ids,
    contributor_consents.consent_ids is not null as has_contributor_consent,
    coalesce(people.persons_released, 0) as persons_released,
    coalesce(people.persons_unreleased, 0) as persons_unreleased

from clips
left join contributor_consents
    on
        clips.clip_id = contributor_consents.clip_id
        and clips.item_id = contributor_consents.item_id
        and clips.shot_index = contributor_consents.shot_index
left join people
    on
        clips.clip_id = people.clip_id
        and clips.item_id = people.item_id
        and clips.shot_index = people.shot_index
