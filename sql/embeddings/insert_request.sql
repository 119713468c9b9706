-- one row: an answered request
insert into core.embedding_request
values ($model_id, $dataset_id, $texts, $tokens, $cost_usd, $answered_at)
