"""The proof that runs end, and end right, whatever dies: ``python -m chaos --runs N --seed S``."""
