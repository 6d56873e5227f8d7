-- Commit a piece once: outputs, state, arrivals at its successors; then claim the next piece. A worker that dies before
-- this call has done nothing; after it, everything. More than 500 successors are announced in portions: the claim stays,
-- with a cursor, until the last one, so a sweep can go on where a dead worker stopped.
-- request: see committing.lua
local function done_once(scope, body, step, name) -- a step that runs once is done: nil, or the portion to announce next
  call('HSET', key('s', scope), step, 'd|' .. req.attempt .. '|' .. began_at(req.started) .. '|' .. req.seconds .. '|' .. req.owner)
  if step ~= '-1' then
    if scope ~= '0' then -- of the root scope this is counted where it is read
      count(body, step, 'd', 1)
      note_end(body, step)
      if name == piece then note_begin() end -- else it has opened a scope
    end
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
  log('done', name .. '/' .. p.index, outer, p.index + 1, req.attempt, req.started, req.seconds)
  local items = tonumber(call('HGET', key('s', p.parent), p.step .. ':n'))
  return items_done(p.parent, outer, p.step, p.index, p.index + 1, items)
end

local function commit()
  store_outputs()
  if lo >= 0 then
    note_begin()
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
