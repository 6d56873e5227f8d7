-- Add to counters of all runs. A process adds up what it counts and comes about once a second; one that dies before this
-- call loses what it has added up since. After it all is counted, and a repeated call counts nothing: its token is known.
-- KEYS[1], the counters, belongs to no run; the tokens of the newest calls are beside it. Runs without a prelude.
-- request: token, tokens (how many are known), ttl, most (fields: what is new is not added if there are more), add {field:
--          number...}. Answers the fields that were not added.
local req, call = cjson.decode(ARGV[1]), redis.call
local counters, tokens = KEYS[1], KEYS[1] .. ':tokens'
local clock = call('TIME')
if call('ZADD', tokens, 'NX', clock[1] + clock[2] / 1000000, req.token) == 0 then return {} end
call('ZREMRANGEBYRANK', tokens, 0, -req.tokens - 1)
local size, refused = call('HLEN', counters), {}
for field, number in pairs(req.add) do
  if size < req.most or call('HEXISTS', counters, field) == 1 then
    if call('HINCRBY', counters, field, number) == number then size = size + 1 end
  else
    refused[#refused + 1] = field
  end
end
for _, name in ipairs({ counters, tokens }) do call('EXPIRE', name, req.ttl) end
return refused
