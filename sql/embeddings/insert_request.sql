-- one row: an answered request
insert into core.embedding_request (model_id, dataset_id, texts, tokens, cost_usd, answered_at)
values ($model_id, $dataset_id, $texts, $tokens, $cost_usd, $answered_at)
