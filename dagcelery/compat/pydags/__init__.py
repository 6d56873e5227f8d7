"""The public modules of pydags: put ``dagcelery.compat.`` before ``pydags`` in imports."""
