-- List a run among those of a list, as new, unless it is there; of very many the oldest are listed no longer. Runs without a
-- prelude: KEYS[1] belongs to no run. A client that dies after this call, and creates no run, leaves an entry that the first
-- reader removes.
-- request: run, most, ttl
local req, call = cjson.decode(ARGV[1]), redis.call
local clock = call('TIME')
call('ZADD', KEYS[1], 'NX', string.format('%d.%06d', clock[1], clock[2]), req.run)
call('EXPIRE', KEYS[1], req.ttl)
call('ZREMRANGEBYRANK', KEYS[1], 0, -req.most - 1)
return req.run
