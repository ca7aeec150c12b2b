{# What a row about a clip is joined by: one file may be delivered twice, and one shot of it seen in both. #}

{% macro clip_key() %}clip_id || '/' || item_id || '/' || shot_index{% endmacro %}
