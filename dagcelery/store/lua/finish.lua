-- Commit a piece once: outputs, state, arrivals at its successors; then claim the next piece. A worker that dies before
-- this call has done nothing; after it, everything. More than 500 successors are announced in portions: the claim stays,
-- with a cursor, until the last one, so a sweep can go on where a dead worker stopped.
-- request: see committing.lua
local function done_once(scope, body, step, name) -- a step that runs once is done: nil, or the portion to announce next
  local n = body .. '.' .. step
  call('HSET', key('s', scope), step, 'd|' .. req.attempt .. '|' .. req.started .. '|' .. req.seconds .. '|' .. req.owner)
  if scope == '0' and name == piece then
    call('HSET', key('n'), n .. ':d', 1, n .. ':e', moment, n .. ':b', claim and claim.started or moment)
  else
    count(body, step, 'd', 1)
    call('HSET', key('n'), n .. ':e', moment)
    if name == piece then note_start(body, step, claim and claim.started or moment) end -- else it has opened a scope
  end
  if step ~= '-1' then
    log('done', name, body, -1, req.attempt, req.started, req.seconds)
    step_done(scope, body)
  end
  return announce(scope, body, step, 0)
end

local function commit_close()
  local p = place(scope)
  local outer, name = place(p.parent).body, p.parent .. '/' .. p.step
  call('HSET', s, 'closed', 1)
  if p.index < 0 then return done_once(p.parent, outer, p.step, name) end
  call('HSET', key('n'), outer .. '.' .. p.step .. ':e', moment)
  log('done', name .. '/' .. p.index, outer, p.index + 1, req.attempt, req.started, req.seconds)
  local items = tonumber(call('HGET', key('s', p.parent), p.step .. ':n'))
  return items_done(p.parent, outer, p.step, p.index, p.index + 1, items)
end

local function commit()
  store_outputs()
  if lo >= 0 then
    note_times()
    return commit_items()
  end
  if step == '-2' then return commit_close() end
  if step == '-3' then
    call('HDEL', R, 'hook')
    hook = false
    return nil
  end
  return done_once(scope, body, step, piece)
end

if claim and claim.cursor then return conclude_claim('committed', announce_rest(scope, step, claim.cursor)) end
return conclude_claim('committed', commit())
