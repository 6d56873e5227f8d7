"""What the documents, the examples and the types promise."""
