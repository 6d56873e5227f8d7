"""Flower's settings: nobody sees tasks without a login, and it is heard on this machine only.

``celery -A dagcelery --config worker_config.celeryconfig flower --conf=worker_config/flowerconfig.py`` uses them.
FLOWER_BASIC_AUTH names who may log in, ``name:password``, several with commas. What stands here wins over Flower's
other variables, and its command line wins over both.
"""

import os

# Flower has no login of its own accord, and who can open it can stop workers and revoke tasks.
basic_auth = [login.strip() for login in os.environ.get("FLOWER_BASIC_AUTH", "").split(",") if login.strip()]
for _login in basic_auth:
    if not all(_login.partition(":")):
        raise SystemExit("FLOWER_BASIC_AUTH: each login is name:password, and neither may be empty")
if not basic_auth:
    raise SystemExit("FLOWER_BASIC_AUTH is not set: Flower does not start without a login, name:password")

# Flower's own default is every address. In a container 0.0.0.0 is right, with a port that the host keeps to itself.
# A password travels as it is: put a proxy with TLS in front of it before others reach it.
address = os.environ.get("FLOWER_ADDRESS", "127.0.0.1")
port = int(os.environ.get("FLOWER_PORT", "5555"))

# The default list of columns has no arguments; with these the search for kwargs:run=... shows what it found. dagcelery
# puts the run into them and never a value.
tasks_columns = "name,uuid,state,kwargs,received,started,runtime,worker"

# It would be a pickle file, which runs code for whoever can write to it.
persistent = False

# Every task is kept in memory, about 2 KB each.
max_tasks = 20_000

# /metrics is open to all who reach the port, login or not: it has names of tasks and workers, and no values.
