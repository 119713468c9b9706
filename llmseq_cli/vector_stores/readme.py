"""The page beside the vectors: how they are loaded, how a session's vector is made, how the store is asked."""

from __future__ import annotations

from llmseq_cli.vector_stores.item_table import ItemTable

_PAGE = """# Item vectors of {run}

{n:,} items with vectors of {dim} numbers. The model ranks items by their {similarity} with the session's vector.

{load}
A session's vector comes from a bundle of the same run (`llmseq export {run} --format bundle --out bundle`):

```python
from llmseq_cli.bundle import Bundle

session = ["first item", "last item"]  # ids or titles, oldest first
vector = Bundle.open("bundle").session_vector(session)
```

{ask}
The store knows nothing of the session's items: leave them out of what it finds, and ask for that many more.
"""

_LOAD = {
    "lancedb": "This folder is a LanceDB database with the table `items`.\n",
    "pgvector": """Load them, in this folder:

```sh
psql "$DATABASE_URL" -f items.sql
```

That makes the table `items`, whole or not at all.
""",
    "qdrant": """Load them, in this folder:

```sh
curl -X PUT "$QDRANT/collections/items" -H 'Content-Type: application/json' -d @collection.json
while read -r points; do
    echo "$points" | curl -X PUT "$QDRANT/collections/items/points" -H 'Content-Type: application/json' -d @-
done < points.jsonl
```
""",
}
_ASK = {
    "lancedb": """```python
import lancedb

items = lancedb.connect(".").open_table("items")
print(items.search(vector).distance_type("{metric}").limit(20).to_list())
```
""",
    "pgvector": """```sql
select item, title from items order by embedding {operator} '[…]' limit 20
```
""",
    "qdrant": """```sh
curl -X POST "$QDRANT/collections/items/points/query" -H 'Content-Type: application/json' \\
    -d '{{"query": […], "limit": 20, "with_payload": true}}'
```
""",
}
_METRICS = {"dot": "dot", "cosine": "cosine", "euclidean": "l2"}
_OPERATORS = {"dot": "<#>", "cosine": "<=>", "euclidean": "<->"}


def readme(kind: str, table: ItemTable) -> str:
    asked = _ASK[kind].format(metric=_METRICS[table.similarity], operator=_OPERATORS[table.similarity])
    similarity = {"dot": "product", "cosine": "cosine", "euclidean": "closeness (Euclidean)"}[table.similarity]
    return _PAGE.format(
        run=table.run, n=len(table.items), dim=table.dim, similarity=similarity, load=_LOAD[kind], ask=asked
    )
