"""How little "finish a node, claim the next one" can cost a server that keeps the same promises.

A stencil by one small script a call: what is finished is fenced by its claim; it keeps its result, its state with
attempt, duration and time, and an event; it counts one arrival at each of three successors and makes those ready that
have all three. Then as many nodes are claimed, with the three inputs of each. `k` nodes share one call. There are no
retries, limits, scopes, lists or wake-ups, and no key has a time to live: it is a floor, not a rival to run.
"""

from __future__ import annotations

from typing import Any, cast

import redis

SCRIPT = """
local states, outputs, claims, ready, events = unpack(KEYS)
local time, call = redis.call('TIME'), redis.call
local now, argument = time[1] .. '.' .. time[2], 1

local function taken()
  argument = argument + 1
  return ARGV[argument - 1]
end

local finished, wanted, written = tonumber(taken()), tonumber(taken()), {}
for _ = 1, finished do
  local node, attempt, seconds, result = taken(), taken(), taken(), taken()
  local is_mine = call('HDEL', claims, node) == 1
  if is_mine then
    call('HSET', outputs, node, result)
    written[#written + 1] = node
    written[#written + 1] = attempt .. '|' .. seconds .. '|' .. now
    call('XADD', events, 'MAXLEN', '~', 10000, '*', 'node', node, 'attempt', attempt, 'seconds', seconds)
  end
  for _ = 1, 3 do
    local successor = taken()
    if is_mine and call('HINCRBY', states, 'arrived:' .. successor, 1) == 3 then
      call('ZADD', ready, successor, successor)
    end
  end
end
if #written > 0 then call('HSET', states, unpack(written)) end

local granted, popped = {}, call('ZPOPMIN', ready, wanted)
for at = 1, #popped, 2 do
  local node = tonumber(popped[at])
  call('HSET', claims, node, '1|worker|' .. now)
  granted[#granted + 1] = { node, call('HMGET', outputs, node - 11, node - 10, node - 9) }
end
return granted
"""

WIDTH = 10
RESULT = b"x" * 56
KEYS = [f"{{floor}}:{kind}" for kind in ("states", "outputs", "claims", "ready", "events")]


def floor(server: redis.Redis, k: int, nodes: int = 1600) -> float:
    """Return the seconds that a server computes for one node, where `k` share a call."""
    server.delete(*KEYS)
    script, connection = server.script_load(SCRIPT), cast(Any, server.connection_pool.get_connection())
    server.hset(KEYS[1], mapping={str(node): RESULT for node in range(-1, WIDTH)})
    server.zadd(KEYS[3], {str(node): node for node in range(WIDTH, 2 * WIDTH + 1)})
    granted: list[Any] = []
    before, done = _cpu(server), 0
    try:
        while done < nodes:
            arguments: list[object] = [len(granted), k]
            for node, _ in granted:
                arguments += [node, 1, "0.001", RESULT, node + WIDTH - 1, node + WIDTH, node + WIDTH + 1]
            done += len(granted)
            # Without the client around it: a server that waits for its client computes more for each call.
            connection.send_command("EVALSHA", script, len(KEYS), *KEYS, *arguments)
            granted = connection.read_response()
    finally:
        server.connection_pool.release(connection)
    spent = _cpu(server) - before
    server.delete(*KEYS)
    return spent / done


def _cpu(server: redis.Redis) -> float:
    used = server.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])
