"""A run seen from outside: events, waiting, lists of runs, trees, and what their readers are told."""
