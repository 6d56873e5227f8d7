"""`dagorama.models`: what stands for values that are not there yet, and what functions are called with."""
