{#
    The lake as a schema of the warehouse: one view a source, over all Parquet files of the table's folder. A schema file
    in each folder lets a table that nobody wrote yet read as empty. Run at the start of every build.
#}

{% macro lake_views() %}

    {% if execute %}

        create schema if not exists lake;

        {% for source in graph.sources.values() if source.source_name == 'lake' %}

            create or replace view lake.{{ source.name }} as

            select *
            from read_parquet(
                '{{ env_var("RUSHES_LAKE") }}/{{ source.name }}/**/*.parquet',
                union_by_name = true,
                hive_partitioning = false
            );

        {% endfor %}

    {% endif %}

{% endmacro %}
