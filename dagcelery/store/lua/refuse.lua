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
    if scope == '0' and req.lo >= 0 and call('HGET', key('s', '0'), step .. ':c') == '0' then
      call('HDEL', key('n'), place(scope).body .. '.' .. step .. ':b') -- it has not begun after all
    end
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

local ready = {}
local function may_do(other) -- of what is ready, something
  if call('HEXISTS', no, other .. ' ') == 1 then return false end
  for _, member in ipairs(ready) do
    if not is_refused(other, member) then return true end
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
if not held and (is_active() or hook == queue) then ready = call('ZRANGE', key('r', queue), 0, 99) end
if ready[#ready] == '' then ready[#ready] = nil end
if not ready[1] then return reply({}) end
local times = count_message()
for _, other in ipairs(times < 16 + 2 * #req.others and req.others or {}) do
  if may_do(other) then return reply({ again = true }) end
end
return reply({})
