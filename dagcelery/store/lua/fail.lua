-- Record that a piece failed, or of a fan-out that item `done` did; the items before it are committed, those behind
-- it are given back. The piece is tried again later if its task allows; or the nearest item that it is or lies in, and that
-- may be skipped, is; else its failure is final. A worker that dies before this call leaves its claim to the sweep, and the
-- piece is executed again.
-- request: see committing.lua, with one piece; retry (the error is one that may be retried), seed (of random numbers), markers [[scope of a
--          fan-out, blocks of its results if the item in it is skipped]...] (in ARGV behind the other blocks). Last in
--          ARGV: the failure
local c = read_pieces()[1]
local said, scope, step, lo, hi, done, body, s, e, piece = c.said, c.scope, c.step, c.lo, c.hi, c.done, c.body, c.s, c.e, c.piece
if said.follows or not may_commit(c) then return conclude({ 'stale' }) end -- what fails was claimed, if need be just before
local cursor, at = c.claim and c.claim.cursor, 1 + #(said.tokens or {}) + #(said.blocks or {}) + (said.log and 1 or 0)
local name = lo >= 0 and (scope .. '/' .. step .. '/' .. done) or piece
local behind = lo >= 0 and hi > lo and done + 1 or hi

local function write_failure(as)
  call('HSET', key('f'), as, ARGV[#ARGV])
  keep(key('f'))
end

local function retried()
  local tries = call('HINCRBY', key('y'), name .. ':x', 1)
  keep(key('y'))
  if not (is_active() and said.retry and e.r and tries < e.r.max_attempts) then return false end
  retry_seconds = timing().wait_before_next(e.r, tries)
  if lo >= 0 then call('HINCRBY', s, step .. ':c', done - behind) end
  timing().retry_later(scope, body, step, lo >= 0 and done or -1, lo >= 0 and behind or -1, c.attempt, retry_seconds)
  if call('HLEN', key('f')) < 1000 then write_failure(name .. '@' .. c.attempt) end
  log_piece('retried', name, c, done + 1)
  return true
end

local function may_skip(home, number) -- one item more of a fan-out, with those that were; its markers have to be here
  local share, sent = entry(place(home).body, number).ms, false
  for _, markers in ipairs(said.markers or {}) do sent = sent or markers[1] == home end
  if not (share and sent) then return false end
  local counts = call('HMGET', key('s', home), number .. ':n', number .. ':k')
  local items = tonumber(counts[1])
  return tonumber(counts[2] or 0) < items - math.ceil(share * items - 0.000001)
end

local function write_markers(home)
  local from = at
  for _, markers in ipairs(said.markers) do
    if markers[1] == home then write_payloads(home, '0', { blocks = markers[2] }, from) end
    from = from + #markers[2]
  end
end

local function skip_own() -- the piece is the item
  write_markers(scope)
  count(body, step, 'k', 1)
  call('HINCRBY', s, step .. ':k', 1)
  skipped_item = name
  log_piece('skipped', name, c, done + 1)
  return items_done(scope, body, step, done, done + 1, tonumber(call('HGET', s, step .. ':n')), 1)
end

local function skip_around(top) -- the piece lies in the item
  local p = place(top)
  write_markers(p.parent)
  if lo >= 0 and hi > lo then call('HINCRBY', s, step .. ':c', -1) end
  skipped_item = p.parent .. '/' .. p.step .. '/' .. p.index
  log_piece('skipped', skipped_item, { body = place(p.parent).body, attempt = c.attempt, said = said }, p.index + 1)
  return skipping().skip_scope(top, c.attempt, piece)
end

local function scope_to_skip() -- of the nearest item around the piece that may be skipped
  local top = place(scope).guard
  while top ~= '' and not may_skip(place(top).parent, place(top).step) do top = place(place(top).parent).guard end
  return top ~= '' and top
end

local function record_failure()
  call('ZADD', key('u'), c.attempt, name)
  keep(key('u'))
  count(body, step, 'f', 1)
  log_piece('failed', name, c, done + 1)
  if not is_active() then return end
  call('HSETNX', R, 'failed', name)
  if call('HGET', R, 'outlives') then
    broken = '1'
    call('HSET', R, 'broken', broken)
  else
    end_run('failed', name)
  end
end

local function conclude_claim(verdict, more)
  end_claim(c, more)
  return conclude({ verdict }, more)
end

if cursor == SKIPPED then
  drop_claim(piece, c.claim, e.q)
  return conclude({ 'stale' })
end
if cursor then return conclude_claim('skipped', skipping().announce_rest(scope, step, cursor)) end
if step == '-3' then -- what is called at the end cannot change it
  call('HDEL', R, 'hook')
  hook = false
  return conclude_claim('committed')
end
write_outputs(c, 1)
note_begin(c)
note_end(c.body, step)
if poisoned then call('HDEL', key('z'), name) end
if lo >= 0 then commit_items(c) else call('HDEL', s, step .. ':l') end -- a worker whose piece failed takes nothing back
if retried() then return conclude_claim('retried') end
write_failure(name)
if lo >= 0 and hi > lo and may_skip(scope, step) then return conclude_claim('skipped', skip_own()) end
local top = scope_to_skip()
if top then return conclude_claim('skipped', skip_around(top)) end
record_failure()
return conclude_claim('committed')
