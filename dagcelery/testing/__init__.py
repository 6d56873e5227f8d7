"""What helps to test DAGs on real workers: `faults` injects what goes wrong in production, `chaos` proves that it does
no harm.
"""
