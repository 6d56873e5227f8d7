"""The spellings of older libraries, and that they mean here what they meant there."""
