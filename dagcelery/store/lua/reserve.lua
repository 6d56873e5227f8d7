-- Keep a reservation for a run, unless it is kept for another than `instead_of`; answers the run that it is kept for.
-- Runs without a prelude: KEYS[1] belongs to no run. A client that dies after this call leaves it to its TTL, or to the
-- next one, which may name the dead run as `instead_of`.
-- request: run, instead_of, ttl
local req, call = cjson.decode(ARGV[1]), redis.call
local kept = call('GET', KEYS[1])
if kept and kept ~= req.instead_of then return kept end
call('SET', KEYS[1], req.run, 'EX', req.ttl)
return req.run
