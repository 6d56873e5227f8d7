-- Give back what dead boots had claimed, and name the queues whose ready work deserves a hint: one a queue, with a
-- back-off from `wait` doubling up to 10 minutes. Costs what is outstanding, not what the run is made of. A run that
-- nobody works on and where nothing has happened for as long as its TTL ends as timed out, while its keys still stand.
-- request: dead [boots, or processes "boot:pid"], wait (seconds), alive [boots] if claims of unknown ones count as lost
-- once they are older than `wait`. Answers `more` while there may be claims that it has not looked at, and
-- `lapsing` if the TTLs of the run's keys ought to be renewed.
if state ~= 'running' and state ~= 'pending' then return { cjson.encode({ run = state or 'gone', released = 0 }) } end
local dead, alive, released, more = {}, req.alive and {}, 0, false
for _, owner in ipairs(req.dead) do dead[owner] = true end
for _, boot in ipairs(req.alive or {}) do alive[boot] = true end

local function is_lost(claim)
  local boot = string.match(claim.owner, '^[^:]*')
  if dead[boot] or dead[string.match(claim.owner, '^[^:]*:[^:]*')] then return true end
  return alive and not alive[boot] and now - tonumber(claim.started) > req.wait
end

local function reissue(piece, claim)
  local scope, step, lo = string.match(piece, '^(%w+)/(%-?%d+)/?(%d*)$')
  local body = place(scope).body
  local e = entry(body, step)
  if claim.cursor then -- committed, and died while telling its successors: tell the next portion for it
    local portion = announce_on(scope, step, claim.cursor)
    if portion then
      more = true
      return write_claim(piece, body, claim.hi, claim.attempt, claim.owner, claim.message, portion)
    end
    return drop_claim(piece, e.q)
  end
  if lo == '' then
    call('HSET', key('s', scope), step .. ':l', claim.owner)
  else
    local from, to = tonumber(lo), claim.hi
    local middle = to - from > 1 and math.ceil((from + to) / 2) or to
    push_range(scope, step, from, middle, claim.attempt, claim.owner)
    if middle < to then push_range(scope, step, middle, to, claim.attempt, claim.owner) end
    call('HINCRBY', key('s', scope), step .. ':c', from - to)
  end
  make_ready(scope, step, e.q)
  drop_claim(piece, e.q)
end

local function reissue_dead()
  for _, piece in ipairs(call('HKEYS', key('c'))) do
    local claim = piece ~= '' and read_claim(piece)
    if claim and is_lost(claim) then
      if released >= 100 then
        more = true
        return
      end
      reissue(piece, claim)
      released = released + 1
    end
  end
end

local function idle_seconds()
  if call('HLEN', key('c')) > 1 then return 0 end
  local last = call('XREVRANGE', key('e'), '+', '-', 'COUNT', 1)[1]
  return now - tonumber(string.match(last[1], '^%d+')) / 1000
end

local function due_hints()
  local hints = {}
  for _, queue in ipairs(cjson.decode(call('HGET', R, 'queues'))) do
    local seen = call('HMGET', R, 'h:' .. queue, 'hw:' .. queue)
    if call('ZCARD', key('r', queue)) < 2 then
      if seen[1] then call('HDEL', R, 'h:' .. queue, 'hw:' .. queue) end
    elseif not seen[1] or now >= tonumber(seen[1]) or released > 0 then
      local wait = (released > 0 or not seen[2]) and req.wait or math.min(600, tonumber(seen[2]) * 2)
      call('HSET', R, 'h:' .. queue, string.format('%.6f', now + wait), 'hw:' .. queue, wait)
      hints[#hints + 1] = queue
    end
  end
  return hints
end

if #req.dead > 0 or alive then reissue_dead() end
settle()
local deadline = call('HGET', R, 'deadline')
if deadline and now > tonumber(deadline) then
  end_run('timed_out', 'its deadline has passed')
elseif idle_seconds() > ttl then
  end_run('timed_out', 'nothing happened for ' .. ttl .. ' seconds')
end
local hints = (state == 'running' or state == 'pending') and due_hints() or {}
local lapsing = call('PTTL', R) < ttl * 500
return { cjson.encode({ run = state, released = released, more = more, lapsing = lapsing, hints = #hints > 0 and hints or nil }) }
