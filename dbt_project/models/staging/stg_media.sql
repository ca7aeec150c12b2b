with source as (

    select * from {{ source('lake', 'media') }}

),

renamed as (

    select
        item_id,
        received_day,
        bytes_sha256,
        size_bytes,
        media_key,
        state as media_state,
        reasons as media_reasons,
        notes as media_notes,
        container,
        codec,
        pixel_format,
        width,
        height,
        rotation_deg,
        fps,
        frames_declared,
        frames_decoded,
        duration_s,
        frames_sha256,
        has_audio,
        decode_errors,
        integrity,
        c2pa_state,
        c2pa_source_type,
        c2pa_detail,
        spectral_peak_db,
        watermark_log10_p,
        watermark_payload,
        position,
        probe_version

    from source

)

select * from renamed
