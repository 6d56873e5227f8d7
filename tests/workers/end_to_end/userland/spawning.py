"""Celery settings of a worker whose children are spawned, and not forked."""

worker_pool_start_method = "spawn"
