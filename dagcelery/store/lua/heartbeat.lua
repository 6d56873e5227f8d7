-- Remember what a worker says of itself, in place of what it said before: a full server takes it, since a worker that
-- is not heard would be taken for dead. Runs without a prelude: KEYS[1] belongs to no run. A worker that dies says no
-- more.
-- request: worker, word, ttl
local req, call = cjson.decode(ARGV[1]), redis.call
call('HDEL', KEYS[1], req.worker)
call('HSET', KEYS[1], req.worker, req.word)
call('EXPIRE', KEYS[1], req.ttl)
return req.worker
