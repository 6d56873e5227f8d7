-- Commit a piece once: outputs, state, arrivals at its successors; then claim the next piece. A worker that dies before
-- this call has done nothing; after it, everything. More than 500 successors are announced in portions: the claim stays,
-- with a cursor, until the last one, so a sweep can go on where a dead worker stopped.
-- request: see committing.lua
local function commit_close()
  local p = place(scope)
  local outer = place(p.parent).body
  call('HSET', s, 'closed', 1)
  count(outer, p.step, 'r', -1)
  log('done', p.parent .. '/' .. p.step .. '/' .. p.index, outer, p.index + 1, req.attempt, req.started, req.seconds)
  local items = tonumber(call('HGET', key('s', p.parent), p.step .. ':n'))
  return items_done(p.parent, outer, p.step, p.index, p.index + 1, items)
end

local function commit_step()
  call('HSET', s, step, 'd|' .. req.attempt .. '|' .. req.started .. '|' .. req.seconds .. '|' .. req.owner)
  local n = body .. '.' .. step
  if scope == '0' then
    call('HSET', key('n'), n .. ':d', 1, n .. ':e', moment, n .. ':b', claim and claim.started or moment)
  else
    count(body, step, 'd', 1)
    call('HSET', key('n'), n .. ':e', moment)
  end
  if step ~= '-1' then
    log('done', piece, body, -1, req.attempt, req.started, req.seconds)
    step_left(scope, body)
  end
  return announce(scope, body, step, 0)
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
  return commit_step()
end

if claim and claim.cursor then return conclude_claim('committed', announce_on(scope, step, claim.cursor)) end
return conclude_claim('committed', commit())
