{% test one_row_a_key(model, columns) %}

select {{ columns | join(', ') }}
from {{ model }}
group by all
having count(*) > 1

{% endtest %}


{% test no_nulls(model) %}

select *
from {{ model }}
where len(list_filter([columns(*)::varchar], lambda value: value is null)) > 0

{% endtest %}
