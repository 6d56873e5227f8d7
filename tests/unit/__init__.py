"""Each room of the package by itself; a folder here has the name of its room."""
