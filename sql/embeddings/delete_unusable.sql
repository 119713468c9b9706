-- no row: deletes the vectors of a model that are not as wide as its others, all where $width is null
delete from core.text_vector
where model_id = $model_id and len(vector) is distinct from $width
