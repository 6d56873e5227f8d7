"""Orders, and a bill for each month."""
