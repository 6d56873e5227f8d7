"""Outputs as files, and single nodes of a DAG with inputs from files."""
