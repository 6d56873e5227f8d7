"""Random DAGs, whose value as plain Python is what a run of them must give."""
