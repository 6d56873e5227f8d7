-- Commit pieces, each once: outputs, state, arrivals at its successors; then claim the next ones. A worker that dies before
-- this call has done nothing; after it, everything. More than 500 successors are announced in portions: the claim stays,
-- with a cursor, until the last one, so a sweep can go on where a dead worker stopped. Such a piece comes alone.
-- request: see committing.lua
local function done_once(c, scope, body, step, name) -- a step that runs once is done: nil, or the portion to announce next
  local said = c.said
  local began, ended = by_our_clock(said.started), by_our_clock(said.started + said.seconds)
  set(key('s', scope), step, 'd|' .. c.attempt .. '|' .. began .. '|' .. ended .. '|' .. req.owner)
  if step ~= '-1' then
    if scope ~= '0' then -- of the root scope this is counted where it is read
      count(body, step, 'd', 1)
      note_end(body, step)
      if name == c.piece then note_begin(c) end -- else it has opened a scope
    end
    log_piece('done', name, { body = body, attempt = c.attempt, said = said }, -1)
    step_done(scope, body)
  end
  return announce(scope, body, step, 0)
end

local function commit_close(c)
  local p = place(c.scope)
  local outer, name = place(p.parent).body, p.parent .. '/' .. p.step
  call('HSET', c.s, 'closed', 1)
  if p.index < 0 then return done_once(c, p.parent, outer, p.step, name) end
  log_piece('done', name .. '/' .. p.index, { body = outer, attempt = c.attempt, said = c.said }, p.index + 1)
  local items = tonumber(call('HGET', key('s', p.parent), p.step .. ':n'))
  return items_done(p.parent, outer, p.step, p.index, p.index + 1, items)
end

local function commit_new(c, at) -- nil, or the cursor to go on at
  write_outputs(c, at)
  if c.lo >= 0 then
    note_begin(c)
    return commit_items(c)
  end
  if c.step == '-2' then return commit_close(c) end
  if c.step == '-3' then
    call('HDEL', R, 'hook')
    hook = false
    return nil
  end
  return done_once(c, c.scope, c.body, c.step, c.piece)
end

local function commit(c, at) -- its verdict; and the cursor to go on at, if it is not done with that
  if not may_commit(c) then return 'stale' end
  local cursor, more = c.claim and c.claim.cursor, nil
  if cursor == SKIPPED then
    drop_claim(c.piece, c.claim, c.e.q)
    return 'stale'
  end
  if cursor then
    write_together()
    more = skipping().announce_rest(c.scope, c.step, cursor)
  else
    more = commit_new(c, at)
  end
  end_claim(c, more)
  return 'committed', more
end

local verdicts, more, at, is_kept = {}, nil, 1, false -- nothing of it was stale
gather()
for i, c in ipairs(read_pieces()) do
  local p = c.said
  if p.follows and not is_kept then -- what it has read may be what was not kept
    verdicts[i] = 'stale'
  else
    verdicts[i], more = commit(c, at)
  end
  is_kept = (i == 1 or is_kept) and verdicts[i] == 'committed'
  at = at + #(p.tokens or {}) + #(p.blocks or {}) + (p.log and 1 or 0)
end
return conclude(verdicts, more)
