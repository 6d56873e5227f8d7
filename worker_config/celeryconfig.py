"""Celery's own settings for workers that run dagcelery, each with its reason.

``celery -A dagcelery --config worker_config.celeryconfig worker`` uses them. Addresses and the signing key are not
here: they come from DAGCELERY_BROKER_URL, DAGCELERY_STORE_URL and DAGCELERY_SIGNING_KEY.
"""

# A message is acknowledged when its work is done, so that the message of a worker that dies is delivered again.
# dagcelery's tasks say so themselves; this says it for your own tasks on these workers.
task_acks_late = True

# The message of a pool process that was killed is returned at once, instead of counting as done.
task_reject_on_worker_lost = True

# A process takes one message at a time. If it took more, ready work would wait behind a long task while other workers
# are idle. With late acknowledgement this makes worker_disable_prefetch, which only works with Redis, superfluous.
worker_prefetch_multiplier = 1

# Messages hold addresses, never values, so JSON is all that is needed, and pickle in a message is refused.
accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"

# After this many seconds the Redis broker delivers an unacknowledged message again. For dagcelery such a duplicate is a
# wake-up that finds nothing to do, so Celery's hour is kept; no run waits for it. Make it longer than the longest of
# your own tasks, and than their longest countdown. It is set in three places, which must agree: the broker's transport
# reads the first, the result backend's the second, and Celery's documents ask for the third. All apps on one broker get
# the shortest of theirs, so give other apps the same number.
visibility_timeout = 3600
result_backend_transport_options = {"visibility_timeout": visibility_timeout}
broker_transport_options = {
    "visibility_timeout": visibility_timeout,
    # Redis has a list for each of these priorities of each queue, and workers read those of priority 0 first, whatever
    # the queue. 0 is the highest priority and the default; dagcelery sends new runs with 6, so that unfinished runs go
    # first. It does so on its own app only: on yours, other tasks would outrank it.
    "priority_steps": [0, 3, 6, 9],
    # Workers alternate between lists of one priority, so that no queue starves. With "priority", the queue that is
    # named first would always go first.
    "queue_order_strategy": "round_robin",
}

# Celery keeps counters of chords and groups for this many seconds. Values and results are in dagcelery's store.
result_expires = 3600

# Workers wait for a broker that is not up yet, or that goes away.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None

# A broker on a Redis that is full refuses to note that a message was taken. Without this a worker would end.
broker_channel_error_retry = True

# Tasks that run while the broker is gone continue: their results are committed to the store, not to the broker.
worker_cancel_long_running_tasks_on_connection_loss = False

# With REMAP_SIGTERM=SIGQUIT in the worker's environment, SIGTERM lets running tasks continue for this many seconds and
# returns the messages of those that did not end. Make Kubernetes' terminationGracePeriodSeconds longer. SIGTERM alone
# waits for running tasks as long as they take; dagcelery begins none behind them. See docs/howto/deploy.md.
worker_soft_shutdown_timeout = 20.0

# Events cost up to 50 microseconds a node, and only Flower and similar tools read them: with -E, workers send them.
worker_send_task_events = False
