-- one row per text: its vector
insert into core.text_vector
select
    $model_id,
    text_hash,
    vector
from hash_columns
