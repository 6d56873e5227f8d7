-- List a run that is about to be created: among those that must be looked at, from some seconds on, and as new, unless it is
-- there, in lists of which the oldest runs go when there are very many. Runs without a prelude: KEYS[1] and the lists belong
-- to no run. A client that dies after this call, and creates no run, leaves entries that the first readers remove.
-- request: run, delay, lists, most, ttl
local req, call = cjson.decode(ARGV[1]), redis.call
local clock = call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
call('ZADD', KEYS[1], now + req.delay, req.run)
call('EXPIRE', KEYS[1], req.ttl)
for _, name in ipairs(req.lists) do
  call('ZADD', name, 'NX', now, req.run)
  call('EXPIRE', name, req.ttl)
  call('ZREMRANGEBYRANK', name, 0, -req.most - 1)
end
return req.run
