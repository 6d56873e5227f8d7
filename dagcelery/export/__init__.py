"""DAGs for other systems to run: each module of this room writes a DAG down for one of them, and runs nothing."""
