"""Ways to write a DAG; each ends in one of the model."""
