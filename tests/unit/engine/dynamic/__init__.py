"""Tasks that call tasks while they run: what such calls mean, and what they may be used for."""
