-- List a run that is about to be created: among those that must be looked at, from some seconds on, and as new, unless it is
-- there, in lists of which the oldest runs go when there are very many. Runs without a prelude: KEYS[1] and the lists belong
-- to no run. A client that dies after this call, and creates no run, leaves entries that the first readers remove.
-- Of each list two runs, others each time, go if they have expired: so it is hardly ever twice as long as it need be, and
-- nobody has to read it for that.
-- request: run, delay, lists, most, ttl, around (what stands around a run's id in the name of its record)
local req, call = cjson.decode(ARGV[1]), redis.call
local clock = call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
call('ZADD', KEYS[1], now + req.delay, req.run)
call('EXPIRE', KEYS[1], req.ttl)
for _, name in ipairs(req.lists) do
  call('ZADD', name, 'NX', now, req.run)
  call('EXPIRE', name, req.ttl)
  call('ZREMRANGEBYRANK', name, 0, -req.most - 1)
  local at = tonumber(clock[2]) % call('ZCARD', name)
  local some = call('ZRANGE', name, at, at + 1, 'WITHSCORES')
  for i = 1, #some, 2 do
    local is_young = tonumber(some[i + 1]) > now - req.delay
    if not is_young and call('EXISTS', req.around[1] .. some[i] .. req.around[2]) == 0 then call('ZREM', name, some[i]) end
  end
end
return req.run
