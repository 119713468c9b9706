-- one row at most: the model of this name and variant
select model_id
from core.text_model
where
    source = $source
    and model = $model
    and dimensions = $dimensions
    and variant = $variant
