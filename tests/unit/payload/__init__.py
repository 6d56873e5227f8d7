"""Tests of values on their way to bytes and back."""
