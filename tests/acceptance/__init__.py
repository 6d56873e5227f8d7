"""What users of py-dagger, dagorama, pydags and dagmate have: a test or more for each row of the list of features."""
