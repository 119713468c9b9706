-- one row: a way to make vectors of texts
insert into core.text_model (source, model, dimensions, variant)
values ($source, $model, $dimensions, $variant)
returning model_id
