"""worker_config's settings, for workers that get two seconds to end what they are at: tests wait for them."""

from worker_config.celeryconfig import *  # noqa: F403

worker_soft_shutdown_timeout = 2.0
