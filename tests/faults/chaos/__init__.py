"""Faults on real workers: what they do, and that runs end right all the same."""
