-- one row at most: the width that most vectors of a model have
select len(vector) as width
from core.text_vector
where model_id = $model_id and len(vector) > 0
group by len(vector)
order by count(*) desc, width
limit 1
