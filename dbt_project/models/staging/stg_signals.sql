with source as (

    select * from {{ source('lake', 'signals') }}

),

renamed as (

    select
        clip_id,
        item_id,
        shot_index,
        received_day,
        width,
        height,
        duration_s,
        fps,
        motion_diag_per_s,
        motion_p90_diag_per_s,
        camera_motion,
        camera_motion_diag_per_s,
        camera_pan_diag_per_s,
        camera_tilt_diag_per_s,
        camera_zoom_diag_per_s,
        camera_roll_diag_per_s,
        sharpness,
        luma_mean,
        luma_p05,
        luma_p50,
        luma_p95,
        clipped_fraction,
        contrast,
        colourfulness,
        shadow_saturation,
        noise,
        detail_fraction,
        flicker,
        freeze_fraction,
        black_fraction,
        letterbox_fraction,
        crop_json,
        text_fraction,
        faces_max,
        faces_json,
        frame_phashes,
        loudness_lufs,
        silence_fraction,
        speech_fraction,
        technical_quality,
        quality_json,
        aesthetic,
        nsfw,
        plugins_json,
        signals_version

    from source

)

select * from renamed
