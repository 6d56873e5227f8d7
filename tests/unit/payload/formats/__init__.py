"""Serializers beyond JSON and pickle: each gives back what it was given, or says which part of it that cannot be."""
