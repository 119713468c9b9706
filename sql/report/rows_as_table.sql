-- one row per row of the leaderboard, its columns as the JSON has them; settings are a struct
create table leaderboard as
with listed as (select unnest(from_json($rows::json, json_structure($rows::json))) as one)

select unnest(one)
from listed
