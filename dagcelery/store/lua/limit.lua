-- Keep how many may be inside of something at once, runs of a DAG or pieces of a task, and what waits for a place. A
-- member that dies inside is `gone` to the next that would enter, and keeps a place until then. Runs without a prelude:
-- KEYS[1], the members by when they entered, belongs to no run; the key of those that wait is beside it.
-- request: verb "enter" {member, waiter, most, gone [members that are not there any more]}, or "leave" {member, most};
--          ttl. Answers to enter 1 or 0; to leave the waiters that may try now, they wait no longer.
local req, call = cjson.decode(ARGV[1]), redis.call
local inside, waiting = KEYS[1], KEYS[1] .. ':waiting'
local clock = call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000

local function enter()
  for _, member in ipairs(req.gone) do call('ZREM', inside, member) end
  local is_inside = call('ZSCORE', inside, req.member) or call('ZCARD', inside) < req.most
  if is_inside then
    call('ZADD', inside, 'NX', now, req.member)
    call('ZREM', waiting, req.waiter)
  else
    call('ZADD', waiting, 'NX', now, req.waiter)
  end
  return is_inside and 1 or 0
end

local function leave()
  call('ZREM', inside, req.member)
  local free = math.min(100, req.most - call('ZCARD', inside))
  local first = free > 0 and call('ZRANGE', waiting, 0, free - 1) or {}
  for _, waiter in ipairs(first) do call('ZREM', waiting, waiter) end
  return first
end

local answer = req.verb == 'enter' and enter() or req.verb == 'leave' and leave()
for _, name in ipairs({ inside, waiting }) do
  if call('EXISTS', name) == 1 then call('EXPIRE', name, req.ttl) end
end
return answer
