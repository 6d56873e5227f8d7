"""Tests of whole installations: real prefork workers of the `celery` script, in a folder with a user's modules."""
