-- Give back what dead workers had claimed, and name the queues whose ready work deserves a wake-up: one a queue, with a
-- back-off from `wait` doubling up to 10 minutes: it begins anew when all workers that may do this have come since the
-- last one, does not double while workers that may not take the messages, and is not waited for if another one is free.
-- Costs what is outstanding, not what the run is made of. A range comes back in halves, so that a fatal item is soon
-- alone; a piece that was alone, or runs once, is poisoned when `deaths` owners have died of it, or `returns` have
-- given it back alive: the worker that claims it lets it fail. What waited for its time becomes ready. A run is
-- abandoned, and ends as timed out while its keys are still there, if for as long as its TTL nothing has happened in
-- it, and nothing was claimed, due, held or waiting for a limit, and no live worker consumed a queue of its ready work.
-- A full server takes all of it. A sweeper that dies before this call has changed nothing; of one that dies after it,
-- and sends no wake-ups, the next one names the queues again when their back-off is over.
-- request: dead, left [workers, or processes "worker:pid", that died, or went in good order], wait (seconds), alive
-- {worker: [when it last said so, {message: 1...} or null, {queue: since when it consumes it}, free processes]} if
-- claims of others, or of other messages, count as lost when they are old, limited (a time limit killed the dead),
-- fresh (back-offs begin anew where a worker lives that may do this), deaths, returns, seed (of random numbers).
-- Answers `more` while there may be claims that it has not looked at, `lapsing` if the TTLs of the run's keys ought to
-- be renewed, and `poisoned` [[queue, step]...].
if not state or not is_active() and not hook and call('HLEN', key('c')) < 2 then
  return reply({ released = 0 })
end
local is_full = type(redis.pcall('HSET', R, 'ttl', ttl)) == 'table' -- else the number of new fields
begin_with_removal()
local was_active, gone_workers, released, more = is_active(), {}, 0, false -- true: it died, false: it left in good order
for _, worker in ipairs(req.left) do gone_workers[worker] = false end
for _, owner in ipairs(req.dead) do gone_workers[owner] = true end

local function is_lost(claim) -- and whether its owner has died of it, perhaps
  local died = gone_workers[string.match(claim.owner, '^[^:]*:[^:]*')]
  local worker = string.match(claim.owner, '^[^:]*')
  if died == nil then died = gone_workers[worker] end
  if died ~= nil then return true, died end
  if not req.alive then return false end
  local started, sign = tonumber(claim.started), req.alive[worker]
  if not sign then return now - started > req.wait, false end
  -- Its message is over, and it still has a claim: an error of its own, or an outage of the store, came in between.
  local works_on = sign[2]
  return works_on and works_on ~= cjson.null and not works_on[string.sub(claim.message, 1, 8)] and started < sign[1] - 1, false
end

local function is_tried_again(scope, body, step, e, lo, claim, piece) -- after a time limit that killed its process
  if not (e.r and e.r.time_limit) then return false end
  local tries = call('HINCRBY', key('y'), piece .. ':x', 1)
  keep(key('y'))
  if tries >= e.r.max_attempts then return false end
  timing().retry_later(scope, body, step, lo, lo >= 0 and claim.hi or -1, claim.attempt, timing().wait_before_next(e.r, tries))
  log('retried', piece, body, lo + 1, claim.attempt, claim.started, now - tonumber(claim.started))
  return true
end

local function count_death(piece, owner)
  local owners = (call('HGET', key('y'), piece .. ':d') or '') .. owner .. ','
  call('HSET', key('y'), piece .. ':d', owners)
  keep(key('y'))
  local _, deaths = string.gsub(owners, ',', '')
  if deaths >= (req.deaths or math.huge) then timing().poison(piece, 'died') end
end

local function suspect(piece) -- a process died that awaited it beside others: from now on it is claimed alone
  call('HSETNX', key('y'), piece .. ':d', '')
  keep(key('y'))
end

local function count_return(piece) -- no worker died, but a piece that is given back again and again may never be done
  local returns = call('HINCRBY', key('y'), piece .. ':g', 1)
  keep(key('y'))
  if returns >= (req.returns or math.huge) then timing().poison(piece, 'returned') end
end

local function ready_again(scope, step, e, lo, claim)
  if lo < 0 then
    call('HSET', key('s', scope), step .. ':l', claim.owner)
  else
    call('HSET', key('s', scope), step .. ':l', moment) -- since when it waits: the owner stands in its ranges
    local middle = claim.hi - lo > 1 and math.ceil((lo + claim.hi) / 2) or claim.hi
    push_range(scope, step, lo, middle, claim.attempt, claim.owner)
    if middle < claim.hi then push_range(scope, step, middle, claim.hi, claim.attempt, claim.owner) end
  end
  make_ready(scope, step, e.q)
end

local function reissue(piece, claim, died)
  local scope, step, lo = parse(piece)
  local body = place(scope).body
  local e = entry(body, step)
  if claim.cursor then -- committed, and died while telling its successors: tell the next portion for it
    local portion = skipping().announce_rest(scope, step, claim.cursor)
    if portion then
      more = true
      return write_claim(piece, body, claim.hi, claim.attempt, claim.owner, claim.message, portion, claim.company)
    end
    return drop_claim(piece, claim, e.q)
  end
  drop_claim(piece, claim, e.q)
  if lo >= 0 then call('HINCRBY', key('s', scope), step .. ':c', lo - claim.hi) end
  local overran = died and req.limited and e.tl and not claim.company
  if overran and is_tried_again(scope, body, step, e, lo, claim, piece) then return end
  if overran then
    timing().poison(piece, 'timeout')
  elseif claim.hi - lo < 2 and not claim.company then -- else others may have ended the process; it comes back alone
    if died then count_death(piece, claim.owner) else count_return(piece) end
  elseif died and e.aw then
    suspect(piece)
  end
  ready_again(scope, step, e, lo, claim)
end

local function reissue_lost()
  for _, piece in ipairs(call('HKEYS', key('c'))) do
    local claim = piece ~= '' and read_claim(piece)
    if claim then
      local lost, died = is_lost(claim)
      if lost and released >= 100 then
        more = true
        return
      end
      if lost then
        reissue(piece, claim, died)
        released = released + 1
      end
    end
  end
end

local function all_poisoned() -- that may be claimed; one that was claimed or done after all is forgotten
  local steps = {}
  for _, piece in ipairs(call('HKEYS', key('z'))) do
    local scope, step = parse(piece)
    local e, member = entry(place(scope).body, step), scope .. '/' .. step
    if call('ZSCORE', key('r', e.q), member) then
      if #steps < 100 then steps[#steps + 1] = { e.q, member } end
    elseif call('HEXISTS', key('c'), piece) == 0 then
      call('HDEL', key('z'), piece)
    end
  end
  return #steps > 0 and steps or nil
end

local refusing = {} -- workers that have refused something of this run; what those said that are gone is forgotten
local function read_refusals()
  for _, field in ipairs(call('HKEYS', key('no'))) do
    local worker = string.match(field, '^[^ ]*')
    refusing[worker] = true
    if req.alive and not req.alive[worker] then call('HDEL', key('no'), field) end
  end
  if call('EXISTS', key('no')) == 0 then call('HDEL', R, 'refused') end
end

local function served_since(queue) -- when the first came of its live workers that have refused nothing, or nil; is one free?
  local first, is_free
  for worker, sign in pairs(req.alive or {}) do
    local since = sign[3] and sign[3][queue]
    if since and not refusing[worker] then
      first, is_free = math.min(first or since, since), is_free or sign[4] > 0
    end
  end
  return first, is_free
end

local function unserved() -- the queues of ready work, without workers; false where something will happen by itself
  if held or released > 0 or #opened > 0 or due or call('HLEN', key('c')) > 1 or tonumber(call('HGET', R, 'waiting') or 0) > 0 then
    return false
  end
  local queues = {}
  for _, queue in ipairs(cjson.decode(call('HGET', R, 'queues'))) do
    if call('ZCARD', key('r', queue)) > 1 then
      if served_since(queue) then return false end
      queues[#queues + 1] = queue
    end
  end
  return queues
end

local function why_abandoned() -- nil, or why nothing will become of the run; only a process that knows which workers live can tell
  local queues = req.alive and unserved()
  if not queues then
    if req.alive then call('HSET', R, 'awaited', moment) end
    return nil
  end
  local last = call('XREVRANGE', key('e'), '+', '-', 'COUNT', 1)[1]
  local since = math.max(last and tonumber(string.match(last[1], '^%d+')) / 1000 or 0, tonumber(call('HGET', R, 'awaited') or 0))
  if now - since <= ttl then return nil end
  local missing = #queues > 0 and '; it waited for a worker of queue ' .. table.concat(queues, ', ') or ''
  return 'nothing happened for ' .. math.floor(now - since) .. ' s, DAGCELERY_TTL_SECONDS=' .. ttl .. missing
end

local function next_wake_up(queue, seen) -- when it is due, and how long the one after it will wait
  if not seen[2] then return 0, req.wait end
  local at, waited = tonumber(seen[1]), tonumber(seen[2])
  local last, since, is_free = at - waited, served_since(queue)
  if since and (since > last or req.fresh) then return 0, req.wait end
  local refused_at = since and seen[3] and tonumber(string.match(seen[3], '%S+$')) or 0
  if refused_at > last then return is_free and 0 or last + req.wait, req.wait end
  -- Nobody works on it, and one is free that may: what was sent has come to nothing.
  if is_free and tonumber(call('HGET', R, 'c:' .. queue) or 0) <= 0 then return last + req.wait, req.wait end
  return at, math.min(600, waited * 2)
end

local function due_wake_ups()
  local wake_ups, is_fresh = {}, released > 0 or #opened > 0
  local queues = is_active() and cjson.decode(call('HGET', R, 'queues')) or { hook } -- of a run that is over nothing else is called
  for _, queue in ipairs(queues) do
    local seen = call('HMGET', R, 'h:' .. queue, 'hw:' .. queue, 're:' .. queue)
    -- In a full store nothing can be claimed; the first sweep that finds room names the queue.
    if is_full or call('ZCARD', key('r', queue)) < 2 then
      if seen[1] then call('HDEL', R, 'h:' .. queue, 'hw:' .. queue, 're:' .. queue) end
    else
      local at, wait = 0, req.wait
      if not is_fresh then at, wait = next_wake_up(queue, seen) end
      if now >= at then
        call('HSET', R, 'h:' .. queue, string.format('%.6f', now + wait), 'hw:' .. queue, wait)
        if seen[3] then call('HDEL', R, 're:' .. queue) end
        wake_ups[#wake_ups + 1] = queue
      end
    end
  end
  return wake_ups
end

if #req.dead > 0 or #req.left > 0 or req.alive then reissue_lost() end
if due and now >= due and is_active() then timing().run_due() end
if refused then read_refusals() end
save_claim_counts()
local deadline = is_active() and call('HGET', R, 'deadline')
if deadline and now > tonumber(deadline) then
  end_run('timed_out', 'its deadline has passed')
elseif held == 'key' and now - tonumber(call('HGET', R, 'created')) > 3600 then
  end_run('cancelled', 'its submitter went away before it could start')
elseif is_active() then
  local why = why_abandoned()
  if why then
    end_run('timed_out', why)
  elseif broken and not more then
    timing().end_if_quiet()
  end
end
local wake_ups = (is_active() and not held or hook) and due_wake_ups() or {}
local lapsing = was_active and call('PTTL', R) < ttl * 500
return reply({
  released = released,
  more = more,
  lapsing = lapsing,
  wake_ups = #wake_ups > 0 and wake_ups or nil,
  poisoned = poisoned and is_active() and all_poisoned() or nil,
  held = held or nil,
  lasted = lasted,
})
