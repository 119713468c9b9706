"""The workspace's DuckDB file: connection, migrations and named queries."""
