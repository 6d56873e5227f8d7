"""Celery's own settings for workers that run dagcelery, each with its reason.

``celery -A dagcelery --config worker_config.celeryconfig worker`` uses them. Addresses and the signing key are not
here: they come from DAGCELERY_BROKER_URL, DAGCELERY_STORE_URL and DAGCELERY_SIGNING_KEY.
"""

# A message is acknowledged when its work is done, so that the message of a worker that dies is delivered again.
# dagcelery's tasks say so themselves; this says it for your own tasks on these workers.
task_acks_late = True

# The message of a pool process that was killed goes back at once, instead of counting as done.
task_reject_on_worker_lost = True

# A process takes one message at a time. Taking more would let ready work wait behind a long task while other workers
# are idle. With late acknowledgement this leaves nothing for worker_disable_prefetch to do, which knows Redis only.
worker_prefetch_multiplier = 1

# Messages hold addresses, never values, so JSON is all that is needed, and pickle in a message is refused.
accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"

# After this many seconds the Redis broker delivers an unacknowledged message again. To dagcelery such a duplicate is a
# hint that finds nothing to do, so Celery's hour is kept; no run waits for it. Make it longer than the longest of your
# own tasks, and than their longest countdown. It stands in three places, which must agree: the broker's transport reads
# the first, the result backend's the second, and Celery's documents ask for the third. All apps on one broker get the
# shortest of theirs, so give other apps the same number.
visibility_timeout = 3600
result_backend_transport_options = {"visibility_timeout": visibility_timeout}
broker_transport_options = {
    "visibility_timeout": visibility_timeout,
    # Redis has a list for each of these priorities of each queue, and workers ask for those of 0 first, whatever the
    # queue. It is the highest one, and what messages have that say nothing; dagcelery sends new runs with 6, so that
    # runs that are under way go first. It does so on its own app only: on yours, other tasks would outrank it.
    "priority_steps": [0, 3, 6, 9],
    # Among lists of one priority workers take turns, so that no queue starves. With "priority" the queue that is named
    # first would always go first.
    "queue_order_strategy": "round_robin",
}

# Celery keeps counters of chords and groups for this many seconds. Values and results are in dagcelery's store.
result_expires = 3600

# Workers wait for a broker that is not up yet, and wait out one that goes away.
broker_connection_retry_on_startup = True
broker_connection_max_retries = None

# What runs while the broker is gone goes on: its result is committed to the store, not to the broker.
worker_cancel_long_running_tasks_on_connection_loss = False

# With REMAP_SIGTERM=SIGQUIT in the worker's environment, SIGTERM lets running tasks go on for this many seconds and
# puts back the messages of those that did not end. Let Kubernetes' terminationGracePeriodSeconds be longer. SIGTERM
# alone waits for running tasks as long as they take; dagcelery starts no new ones meanwhile.
worker_soft_shutdown_timeout = 20.0

# Events cost up to 50 microseconds a node, and only Flower and its kind read them: start workers with -E for those.
worker_send_task_events = False
