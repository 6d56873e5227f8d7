"""The containers, with a Docker engine."""
