-- Give a claimed piece back unrun, because too many of its kind run: its step is not ready until `unblock`, or until
-- `seconds` are over. A worker that dies before this call leaves its claim to the sweep.
-- request: owner, scope, step, lo, hi, attempt, seconds
local scope, step = req.scope, tostring(req.step)
local piece, member = piece_name(scope, step, req.lo), scope .. '/' .. step
local claim = state and read_claim(piece)
if not claim or claim.attempt ~= req.attempt or claim.owner ~= req.owner then return { cjson.encode({ state = 'stale', run = state or 'gone' }) } end
local e, s = entry(place(scope).body, step), key('s', scope)
if req.lo >= 0 then
  if call('LPUSH', key('q', scope, step), range_text(req.lo, req.hi, req.attempt - 1)) == 1 then keep(key('q', scope, step)) end
  call('HINCRBY', s, step .. ':c', req.lo - req.hi)
  call('ZREM', key('r', e.q), member)
else
  call('HINCRBY', s, step .. ':t', -1)
end
if not call('ZSCORE', key('d'), 'p/' .. member) then call('HINCRBY', R, 'waiting', 1) end
later('p/' .. member, now + req.seconds)
drop_claim(piece, e.q)
settle()
return { cjson.encode({ state = 'none', run = state }) }
