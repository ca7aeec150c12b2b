{% test one_row_a_key(model, columns) %}

select {{ columns | join(', ') }}
from {{ model }}
group by all
having count(*) > 1

{% endtest %}


{% test no_nulls(model) %}

select * from {{ model }}
except all
-- in which all columns have a value
select * from {{ model }} where columns(*) is not null

{% endtest %}
