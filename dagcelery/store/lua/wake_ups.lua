-- Say how many messages a queue deserves, and count them as under way: as many as there are ready pieces, less what the
-- processes of that queue already do or were told of. Wake-ups that have not arrived after a second count as lost: so are
-- those of a worker that dies before it sends them, and one that comes to a worker which refuses this. So a worker that
-- leaves a run of which something was refused sends one in any case.
-- request: queue, slots, leaving, token (of this very call: repeated, it gets the same answer)
if held or not is_active() then return reply({ wake_ups = 0 }) end
local queue, slots = req.queue, req.slots
local numbers = call('HMGET', R, 'c:' .. queue, 'p:' .. queue, 'pt:' .. queue, 'pc:' .. queue)
local claims, pending, at = tonumber(numbers[1] or 0), tonumber(numbers[2] or 0), tonumber(numbers[3] or 0)
local last, number = string.match(numbers[4] or '', '^(.*) (%d+)$')
if last == req.token then return reply({ wake_ups = tonumber(number) }) end
if now - at > 1 then pending = 0 end
local free, pieces = slots - claims - pending, 0

local function waiting(member) -- pieces of a ready step: items of a fan-out that may be claimed, or the step itself
  local items, scope, step = 0, parse(member)
  if not scope then return 0 end
  for _, range in ipairs(call('LRANGE', key('q', scope, step), 0, free - 1)) do
    local lo, hi = string.match(range, '^(%d+):(%d+):')
    items = items + math.max(1, hi - lo)
  end
  return math.max(1, items)
end

for _, member in ipairs(free > 0 and call('ZRANGE', key('r', queue), 0, free - 1) or {}) do
  if pieces < free then pieces = pieces + waiting(member) end
end
local wake_ups = math.max(0, math.min(free, pieces))
if refused then wake_ups = math.min(1, wake_ups) end -- not all of those processes may do this
if refused and req.leaving and call('ZCARD', key('r', queue)) > 1 then
  wake_ups = 1
  call('HDEL', R, 're:' .. queue)
end
if wake_ups > 0 then
  call('HSET', R, 'p:' .. queue, pending + wake_ups, 'pt:' .. queue, moment, 'pc:' .. queue, req.token .. ' ' .. wake_ups)
end
return reply({ wake_ups = wake_ups })
