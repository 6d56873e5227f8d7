"""Stages and pipelines: what they mean, where their values stand, what they look like."""
