-- one row per user of the input with its interactions and the code that stands for the name from here on: its hash,
-- so that interactions get their codes without a join. Two users of one hash are looked for, and hashed otherwise.
create or replace temp table user_name as
select
    user_id,
    hash(user_id, $salt) as user_code,
    count(*) as n
from staged_interaction
group by user_id
