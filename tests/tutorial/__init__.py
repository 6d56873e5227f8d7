"""A tutorial in the form of tests: read the files in their order, and run whatever you doubt."""
