"""A package in which a team's Celery app looks for tasks."""
