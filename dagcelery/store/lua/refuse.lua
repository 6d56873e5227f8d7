-- Leave ready work to other workers: one that lacks what it needs (a key, a module, newer code) gives back unrun what it
-- claimed, and is passed over at that step for a minute; nothing is spent. Answers whether the message that brought it
-- here is to be sent again: if another worker may do some of this, and not for ever while that one is busy. A worker that
-- dies before this call leaves its claim to the sweep, which also sends what one leaves unsent that dies after it;
-- repeated, it gives back nothing more.
-- request: owner, queue, others [other live workers of the queue]; why, if this is news; and the claim, if
-- there is one: scope, step, lo, hi, attempt. Without it, it is the whole run that the worker may not read.
if not state then return reply({}) end
local worker, no, queue = string.match(req.owner, '^[^:]*'), key('no'), req.queue

local function give_back() -- the name of the step
  local scope, step, e = return_claim()
  if scope then
    make_ready(scope, step, e.q)
    save_claim_counts()
  end
  return (place(req.scope).body or '') .. '.' .. req.step
end

local function remember(name)
  if call('HLEN', no) >= 1000 then call('UNLINK', no) end
  call('HSET', no, worker .. ' ' .. name, moment .. '|' .. queue .. '|' .. req.why)
  keep(no)
  refused = '1'
  call('HSET', R, 'refused', refused)
end

local ready, names, is_failing, lookups = {}, {}, false, 300 -- of those each takes one by step, not by piece
local function read_ready()
  ready = sample(queue)
  if ready[#ready] == '' then ready[#ready] = nil end
  local seen = {}
  for _, member in ipairs(ready) do
    if member ~= '' then
      local name = step_name(member)
      if not seen[name] then names[#names + 1] = name end
      seen[name] = true
      is_failing = is_failing or is_poisoned(member)
    end
  end
end

local function may_do(other) -- of what is ready, something; it is said to where that would take too long to find out
  if call('HEXISTS', no, other .. ' ') == 1 then return false end
  if is_failing or lookups < #names then return true end
  lookups = lookups - #names
  local fields = {}
  for i, name in ipairs(names) do fields[i] = other .. ' ' .. name end
  for _, refusal in ipairs(call('HMGET', no, unpack(fields))) do
    if not is_recent(refusal) then return true end
  end
  return false
end

local function count_message() -- until another step is first, a worker leaves the run, or the sweep sends one
  local first, times = string.match(call('HGET', R, 're:' .. queue) or '', '^(%S+) (%d+)')
  if first ~= ready[1] then times = 0 end
  call('HSET', R, 're:' .. queue, table.concat({ ready[1], times + 1, moment }, ' '))
  return tonumber(times)
end

local name = req.attempt and give_back() or ''
if req.why then remember(name) end
if not held and (is_active() or hook == queue) then read_ready() end
if not ready[1] then return reply({}) end
local times = count_message()
for _, other in ipairs(times < 16 + 2 * #req.others and req.others or {}) do
  if may_do(other) then return reply({ again = true }) end
end
return reply({})
