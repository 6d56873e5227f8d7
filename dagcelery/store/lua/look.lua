-- Name active runs, or runs with files, that were not looked at for `wait` seconds, and mark them as looked at; or,
-- given a run, mark it as one of them from now on. Runs without a prelude: KEYS[1] belongs to no run. Times are scores,
-- by the store's clock. Runs that a sweeper was given before it died are due again after `wait`.
-- request: run, delay (seconds until it needs a look), or wait, limit; ttl
local req, call = cjson.decode(ARGV[1]), redis.call
local clock = call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local due = {}
if req.run then
  call('ZADD', KEYS[1], now + req.delay, req.run)
else
  due = call('ZRANGEBYSCORE', KEYS[1], '-inf', now - req.wait, 'LIMIT', 0, req.limit)
  call('ZREM', KEYS[1], '') -- first, so that a full server takes the rest: they are there already
  for _, id in ipairs(due) do call('ZADD', KEYS[1], now, id) end
end
if call('EXISTS', KEYS[1]) == 1 then call('EXPIRE', KEYS[1], req.ttl) end
return due
