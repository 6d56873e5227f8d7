"""The public modules of dagorama: put ``dagcelery.compat.`` before ``dagorama`` in imports."""
