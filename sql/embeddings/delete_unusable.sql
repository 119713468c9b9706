-- one row per vector of a model that is deleted, because it is not as wide as the others (all are, where $width is
-- null) or holds what is no finite number
delete from core.text_vector
where
    model_id = $model_id
    and (
        len(vector) is distinct from $width
        or list_count(vector) <> len(vector)
        or not isfinite(list_sum(vector))
    )
returning text_hash
