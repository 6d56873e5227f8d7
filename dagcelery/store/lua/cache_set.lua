-- Keep results of a task for other runs; the last one that is kept under a name counts. KEYS[1], the names of a task's
-- results by when they expire, belongs to no run; the results are beside it. Runs without a prelude. A worker that dies
-- before this call has kept nothing; one that calls again keeps the same again.
-- request: names, chunks (names of keys that are there already, which large results are in), ttl in ms. ARGV 2..:
--          results
local req, call = cjson.decode(ARGV[1]), redis.call
local names, clock = KEYS[1], call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- More names go than come, as long as there are any of what has expired: they do not pile up.
local most = 50 + #req.names + #req.chunks
for _, old in ipairs(call('ZRANGEBYSCORE', names, '-inf', now, 'LIMIT', 0, most)) do call('ZREM', names, old) end
for i, name in ipairs(req.names) do
  call('SET', names .. ':' .. name, ARGV[i + 1], 'PX', req.ttl)
  call('ZADD', names, now + req.ttl, name)
end
for _, name in ipairs(req.chunks) do call('ZADD', names, now + req.ttl, name) end
if call('PTTL', names) < req.ttl then call('PEXPIRE', names, req.ttl) end
return #req.names
