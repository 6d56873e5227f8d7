"""What users see on real workers."""
