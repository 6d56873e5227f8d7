-- Read what a run lets wait: of each queue how many pieces are ready, and since when the one is that waits longest. Of
-- very many ready steps those that come first and last are looked at, the others count as one piece each; of a fan-out its
-- first ranges. Nothing waits in a run that is held. It changes nothing.
-- request: most (steps that are looked at). Answers the DAG, and [[queue, pieces, since, or 0 if nothing tells]...].
local rows = {}

local function waiting(member) -- pieces of a ready step, and since when
  local scope, step = parse(member)
  local at = call('HGET', key('s', scope), step .. ':r')
  if at then return 1, tonumber(at) end
  local items, oldest = 0, math.huge
  for _, range in ipairs(call('LRANGE', key('q', scope, step), 0, 9)) do
    local lo, hi, moment_of = string.match(range, '^(%d+):(%d+):%d+@?([%d.]*)')
    items, oldest = items + math.max(1, hi - lo), math.min(oldest, tonumber(moment_of) or math.huge)
  end
  return math.max(1, items), oldest
end

local function look(queue, left)
  local r = key('r', queue)
  local size = call('ZCARD', r) - 1 -- the last one is ''
  if size < 1 then return 0 end
  local front = math.min(size, math.ceil(left / 2))
  local back = math.max(front, size - math.floor(left / 2))
  local members, pieces, oldest = call('ZRANGE', r, 0, front - 1), size, math.huge
  for _, member in ipairs(back < size and call('ZRANGE', r, back, size - 1) or {}) do members[#members + 1] = member end
  for _, member in ipairs(members) do
    local number, at = waiting(member)
    pieces, oldest = pieces + number - 1, math.min(oldest, at)
  end
  rows[#rows + 1] = { queue, pieces, oldest < math.huge and math.max(oldest, since) or 0 }
  return #members
end

if not state or not is_active() then return '' end
local left = req.most
for _, queue in ipairs(not held and cjson.decode(call('HGET', R, 'queues')) or {}) do left = math.max(2, left - look(queue, left)) end
return cjson.encode({ call('HGET', R, 'name'), rows })
