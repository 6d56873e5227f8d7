-- Comes behind the prelude, the claims and the skipping in `finish` and `fail`: which call may commit a piece, and what a
-- commit writes.
-- request: owner, token, pieces [{scope, step, lo, hi, attempt, done, tokens, lists, blocks [[token, lo, hi, attempt]...],
--          failed, cached, started, seconds, follows, log}...], from, want; what is empty may be left out.
-- ARGV 2..: for each piece the values of its tokens, then its blocks, then what it has logged, if `log` says so
if not state then
  local verdicts = {}
  for i = 1, #req.pieces do verdicts[i] = 'stale' end
  return reply({ states = verdicts })
end
local again = repeated()
if again then return again end

local function read_pieces() -- as they were said, with what is known of each here; what has to be read is read at once
  local pieces, names, steps = {}, {}, {}
  for i, p in ipairs(req.pieces) do
    local scope, step, lo, hi = p.scope or '0', tostring(p.step), p.lo or -1, p.hi or -1
    local c = { said = p, scope = scope, step = step, lo = lo, hi = hi, attempt = p.attempt or 1, s = key('s', scope) }
    c.piece, c.body, c.done = piece_name(scope, step, lo), place(scope).body, (not p.done or p.done < lo) and hi or p.done
    pieces[i], names[i] = c, c.piece
    if c.body and step ~= '-3' then
      local those = steps[c.body] or {}
      steps[c.body], those[#those + 1] = those, step
    end
  end
  for body, those in pairs(steps) do read_entries(body, those) end
  for i, text in ipairs(call('HMGET', key('c'), unpack(names))) do
    local c = pieces[i]
    if c.body then c.claim, c.e = parse_claim(text), entry(c.body, c.step) end
  end
  return pieces
end

-- A worker that was taken for dead, and comes back before its piece is claimed again, may still commit.
local function reclaimed(c)
  local lo, hi, scope, step = c.lo, c.hi, c.scope, c.step
  if lo < 0 then
    local lost = call('HMGET', c.s, step .. ':t', step .. ':l')
    if tonumber(lost[1]) ~= c.attempt or lost[2] ~= req.owner then return false end
    if call('ZREM', key('r', c.e.q), scope .. '/' .. step) == 0 then return false end
  else
    local q, middle = key('q', scope, step), math.ceil((lo + hi) / 2)
    if hi - lo < 2 then middle = hi end
    local first = range_text(lo, middle, c.attempt, req.owner)
    local second = middle < hi and range_text(middle, hi, c.attempt, req.owner)
    if call('LREM', q, 1, first) == 0 then return false end
    if second and call('LREM', q, 1, second) == 0 then
      push_range(scope, step, lo, middle, c.attempt, req.owner)
      return false
    end
    call('HINCRBY', c.s, step .. ':c', hi - lo)
    if call('EXISTS', q) == 0 then call('ZREM', key('r', c.e.q), scope .. '/' .. step) end
  end
  count_claim(c.e.q, 1)
  return true
end

-- A step that follows others which are committed by the same call was executed without a claim: it was not ready before, so
-- no other worker can have had it. It is claimed here, as its first attempt, if this call has opened it.
local function is_opened(c) -- by this very call, so that nobody else needs to come for it?
  for _, each in ipairs(together and together.ready[c.e.q] or {}) do
    if each.step == c.step and each.scope == c.scope then
      each.step = nil
      return true
    end
  end
  for i = #opened, 1, -1 do
    if opened[i][1] == c.scope and opened[i][3] == tonumber(c.step) then
      table.remove(opened, i)
      if readied[c.scope] then readied[c.scope][c.step] = nil end
      return call('ZREM', key('r', c.e.q), c.scope .. '/' .. c.step) == 1
    end
  end
  return false
end

local function claimed_behind(c)
  if poisoned and why_poisoned(c.piece, c.piece) or not is_active() or not is_opened(c) then return false end
  if call('HINCRBY', c.s, c.step .. ':t', 1) ~= c.attempt then
    call('HINCRBY', c.s, c.step .. ':t', -1)
    open_plain(c.scope, c.body, c.step, c.e.q)
    return false
  end
  count_claim(c.e.q, 1)
  return true
end

-- A worker that reports back is alive; do not count its pause as a death.
local function uncount_death(piece)
  local owners = call('HGET', key('y'), piece .. ':d')
  if owners then -- each with a comma behind it
    local at, upto = string.find(',' .. owners, ',' .. req.owner .. ',', 1, true)
    if at then call('HSET', key('y'), piece .. ':d', string.sub(owners, 1, at - 1) .. string.sub(owners, upto)) end
  end
end

local ended = {} -- pieces of this call
local function may_commit(c)
  -- Steps are being cleared: of what commits meanwhile it would not be known whether its successors were told of it.
  if not c.body or ended[c.piece] or not is_active() and call('HEXISTS', R, 'clearing') == 1 then return false end
  if is_owner(c.claim, c.attempt) then return true end
  if c.said.follows then return not c.claim and claimed_behind(c) end
  uncount_death(c.piece)
  if c.claim or is_skipped(c.scope) or not reclaimed(c) then return false end
  if poisoned then call('HDEL', key('z'), c.piece) end
  return true
end

local function write_outputs(c, at) -- their bytes follow place `at` of ARGV
  local home, attempt = c.scope, c.lo >= 0 and '0' or c.attempt
  if c.step == '-2' then home, attempt = place(c.scope).parent, '0' end
  if c.said.lists then write_lengths(c.scope, c.said.lists, c.attempt) end
  if c.said.cached then count(c.body, c.step, 'c', c.said.cached) end
  local last = write_payloads(home, attempt, c.said, at)
  if c.said.log then keep_log(c, c.body, ARGV[last + 1], c.said.failed) end
end

local function log_piece(kind, name, c, hi, seconds) log(kind, name, c.body, hi, c.attempt, c.said.started, seconds or c.said.seconds) end

local function commit_items(c)
  local lo, hi, done, scope, step = c.lo, c.hi, c.done, c.scope, c.step
  local behind = done + (c.said.failed and 1 or 0)
  if behind < hi then
    push_unrun(scope, step, behind, hi, c.attempt - 1)
    make_ready(scope, step, c.e.q)
  end
  if done == lo and (hi > lo or c.said.failed) then return nil end
  local items = tonumber(call('HGET', c.s, step .. ':n'))
  if items <= 1000 then
    for i = lo, done - 1 do log_piece('done', scope .. '/' .. step .. '/' .. i, c, i + 1, c.said.seconds / (done - lo)) end
  else
    log_piece('done', c.piece, c, done)
  end
  return items_done(scope, c.body, step, lo, done, items)
end

-- Workers' clocks differ: the last piece of a call ended now, and all began as much earlier as their worker's clock says.
local latest = req.pieces[#req.pieces]
local function by_our_clock(at) return string.format('%.6f', now - (latest.started + latest.seconds - at)) end
local function note_begin(c) note_start(c.body, c.step, c.claim and c.claim.started or by_our_clock(c.said.started)) end

local function end_claim(c, more) -- a claim is kept, with a cursor, while successors are being told
  ended[c.piece] = true
  if more then
    local claim = c.claim or { message = '' }
    write_claim(c.piece, c.body, c.hi, c.attempt, req.owner, claim.message, more, claim.company)
  elseif c.claim then
    drop_claim(c.piece, c.claim, c.e.q)
  else
    count_claim(c.e.q, -1)
  end
end
