"""The proof that runs end, and end right, whatever dies: ``python -m dagcelery.testing.chaos --runs N --seed S``."""
