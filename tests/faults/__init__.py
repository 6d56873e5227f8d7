"""What goes wrong, by accident or on purpose, and what is said of it."""
