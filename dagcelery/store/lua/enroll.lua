-- List a run that is about to be created as new, unless it is there, in a list of which the oldest runs go when there are
-- very many. Runs without a prelude: KEYS[1] belongs to no run. A client that dies after this call, and creates no run,
-- leaves an entry that the first reader removes.
-- One call in four, by chance, answers with eight runs of the list, others each time: its caller takes off those that have
-- expired, so that the list is hardly ever twice as long as it need be, and nobody has to read it for that. It is not done
-- here, since in a cluster the runs are elsewhere.
-- request: run, delay (seconds that a run has to be created), most, ttl
local req, call = cjson.decode(ARGV[1]), redis.call
local clock = call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
call('ZADD', KEYS[1], 'NX', now, req.run)
call('EXPIRE', KEYS[1], req.ttl)
call('ZREMRANGEBYRANK', KEYS[1], 0, -req.most - 1)
local old = {}
if tonumber(clock[2]) % 4 == 0 then
  local at = math.floor(tonumber(clock[2]) / 4) % call('ZCARD', KEYS[1])
  local some = call('ZRANGE', KEYS[1], at, at + 7, 'WITHSCORES')
  for i = 1, #some, 2 do
    if tonumber(some[i + 1]) <= now - req.delay then old[#old + 1] = some[i] end
  end
end
return old
