"""Benchmarks: ``make bench`` prints a table of costs, and writes the same as JSON."""
