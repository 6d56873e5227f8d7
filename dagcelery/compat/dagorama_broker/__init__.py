"""The public module of dagorama's broker; here the broker is a Redis."""
