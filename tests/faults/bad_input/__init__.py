"""Whatever is wrong with what we are given: a typed error tells it, and nothing half-written remains."""
