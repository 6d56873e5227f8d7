"""The public names of older libraries, under their own module names: dagger, dagorama, pydags and dagmate."""
