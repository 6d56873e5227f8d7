"""Runs as traces of OpenTelemetry, on real workers."""
