"""Workflows in YAML: what a configuration means, and what is said of one that means nothing."""
