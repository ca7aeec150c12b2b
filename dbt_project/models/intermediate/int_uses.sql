-- What is asked of consent: a purpose, where and by whom, one row each; the window is `int_decision_window`. A purpose
-- that puts pictures of a child into a model needs `minor_scope` too. A row more is a decision more for every clip.

select
    purpose,
    minor_scope,
    territory,
    recipient

from (
    values
    ('train', 'train_minor', '*', '*')
) as asked (purpose, minor_scope, territory, recipient)
