"""Flower's settings: a login is required, and it listens on this machine only.

``celery -A dagcelery --config worker_config.celeryconfig flower --conf=worker_config/flowerconfig.py`` uses them.
FLOWER_BASIC_AUTH has the logins, ``name:password``, separated by commas. The settings here win over Flower's other
variables, and its command line wins over both.
"""

import os

from flower import urls

from dagcelery.web.behind_flower import routes

# Flower has no login by default, and anyone who can open it can stop workers and revoke tasks.
basic_auth = [login.strip() for login in os.environ.get("FLOWER_BASIC_AUTH", "").split(",") if login.strip()]
for _login in basic_auth:
    if not all(_login.partition(":")):
        raise SystemExit("FLOWER_BASIC_AUTH: each login is name:password, and neither may be empty")
if not basic_auth:
    raise SystemExit("FLOWER_BASIC_AUTH is not set: Flower does not start without a login, name:password")

# Flower's own default is every address. In a container 0.0.0.0 is right, with a port that only the host can reach.
# Passwords travel unencrypted: put a proxy with TLS in front of it before opening it to others.
address = os.environ.get("FLOWER_ADDRESS", "127.0.0.1")
port = int(os.environ.get("FLOWER_PORT", "5555"))

# The default columns do not include arguments; with them, the search for kwargs:run=... shows what it matched. There,
# dagcelery puts the run, and never a value.
tasks_columns = "name,uuid,state,kwargs,received,started,runtime,worker"

# It would be a pickle file, with which anyone who can write to it can run code.
persistent = False

# Every task is kept in memory, about 2 KB each.
max_tasks = 20_000

# /metrics needs no login: it shows names of tasks and workers, and no values.

# The page for runs, on Flower's port at /dags/, for whom Flower lets in. It only shows them: actions=True lets people
# cancel, resume, retry and delete runs, too. Remove these lines where dagcelery[web] is not installed.
urls.handlers[:0] = routes("/dags")
