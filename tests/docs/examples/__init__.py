"""Every example runs as its document says."""
