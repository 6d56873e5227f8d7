"""What older libraries were imported for, spelled as they spelled it: dagger, dagorama, pydags and dagmate."""
