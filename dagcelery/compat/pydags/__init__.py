"""The public modules of pydags: put ``dagcelery.compat.`` before ``pydags`` in imports, and keep the rest."""
