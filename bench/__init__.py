"""What a node costs: ``make bench`` prints a table, and the same as JSON."""
