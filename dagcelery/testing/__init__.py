"""What helps to test DAGs: `plugin` is pytest's, `faults` injects what goes wrong in production on real workers, and
`chaos` proves that it does no harm.
"""
