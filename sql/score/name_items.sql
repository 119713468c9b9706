-- one row per item of a session to score that its title named: the id takes the title's place
update staged_session_item
set item_id = named_item.item_id
from named_item
where staged_session_item.item_id = named_item.text
