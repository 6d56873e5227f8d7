-- Comes behind the prelude and the claims in `finish` and `fail`: which call may commit, and what a commit writes.
-- request: owner, token, scope, step, lo, hi, attempt, done, tokens, lists, blocks [[token, lo, hi, attempt]...],
--          failed, cached, started, seconds, from, want; what is empty may be left out. ARGV 2..: values of tokens, then blocks
if not state then return reply({ state = 'stale' }) end
local again = repeated()
if again then return again end
local scope, step, lo, hi, done = req.scope, tostring(req.step), req.lo, req.hi, req.done
local piece, body = piece_name(scope, step, lo), place(scope).body
-- Steps are being cleared: of what commits meanwhile it would not be known whether its successors were told of it.
if not is_active() and call('HEXISTS', R, 'clearing') == 1 or not body then return conclude('stale') end
local claim, s, e = read_claim(piece), key('s', scope), entry(body, step)
if not done or done < lo then done = hi end

-- A worker that was taken for dead, and comes back before its piece is claimed again, may still commit.
local function reclaimed()
  if lo < 0 then
    local lost = call('HMGET', s, step .. ':t', step .. ':l')
    if tonumber(lost[1]) ~= req.attempt or lost[2] ~= req.owner then return false end
    if call('ZREM', key('r', e.q), scope .. '/' .. step) == 0 then return false end
  else
    local q, middle = key('q', scope, step), math.ceil((lo + hi) / 2)
    if hi - lo < 2 then middle = hi end
    local first = range_text(lo, middle, req.attempt, req.owner)
    local second = middle < hi and range_text(middle, hi, req.attempt, req.owner)
    if call('LREM', q, 1, first) == 0 then return false end
    if second and call('LREM', q, 1, second) == 0 then
      push_range(scope, step, lo, middle, req.attempt, req.owner)
      return false
    end
    call('HINCRBY', s, step .. ':c', hi - lo)
    if call('EXISTS', q) == 0 then call('ZREM', key('r', e.q), scope .. '/' .. step) end
  end
  count_claim(e.q, 1)
  return true
end

-- A worker that reports back is alive; do not count its pause as a death.
local function uncount_death()
  local owners = call('HGET', key('y'), piece .. ':d')
  if owners then -- each with a comma behind it
    local at, upto = string.find(',' .. owners, ',' .. req.owner .. ',', 1, true)
    if at then call('HSET', key('y'), piece .. ':d', string.sub(owners, 1, at - 1) .. string.sub(owners, upto)) end
  end
end

if not claim then
  uncount_death()
  if is_skipped(scope) or not reclaimed() then return conclude('stale') end
  if poisoned then call('HDEL', key('z'), piece) end
elseif not is_owner(claim) then
  uncount_death()
  return conclude('stale')
end

local function store_outputs() -- answers the place in ARGV of the last of their bytes
  local home, attempt = scope, lo >= 0 and '0' or req.attempt
  if step == '-2' then home, attempt = place(scope).parent, '0' end
  write_lengths(scope, req.lists or {}, req.attempt)
  if req.cached then count(body, step, 'c', req.cached) end
  return write_payloads(home, attempt, req, 1)
end

local function give_back(from, to, attempts)
  if to <= from then return end
  push_unrun(scope, step, from, to, attempts)
  make_ready(scope, step, e.q)
end

local function commit_items()
  give_back(done + (req.failed and 1 or 0), hi, req.attempt - 1)
  if done == lo and (hi > lo or req.failed) then return nil end
  local items = tonumber(call('HGET', s, step .. ':n'))
  if items <= 1000 then
    for i = lo, done - 1 do log('done', scope .. '/' .. step .. '/' .. i, body, i + 1, req.attempt, req.started, req.seconds / (done - lo)) end
  else
    log('done', piece, body, done, req.attempt, req.started, req.seconds)
  end
  return items_done(scope, body, step, lo, done, items)
end

local function note_begin() note_start(body, step, claim and claim.started or moment) end

-- Workers' clocks differ: what this call tells of has ended now, and began as much earlier as it took.
local function began_at(started) return string.format('%.6f', now - (req.started + req.seconds - started)) end

local function conclude_claim(verdict, more) -- a claim is kept, with a cursor, while successors are being told
  if more then
    write_claim(piece, body, hi, req.attempt, req.owner, claim and claim.message or '', more)
  else
    drop_claim(piece, e.q)
  end
  return conclude(verdict, more)
end

if claim and claim.cursor == SKIPPED then return conclude_claim('stale') end
