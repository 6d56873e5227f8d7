-- Give a claimed piece back unrun. A worker that dies before this call leaves its claim to the sweep.
-- request: owner, scope, step, lo, hi, attempt
local scope, step = req.scope, tostring(req.step)
local piece = piece_name(scope, step, req.lo)
local claim = state and read_claim(piece)
if not claim or claim.attempt ~= req.attempt or claim.owner ~= req.owner then return { cjson.encode({ state = 'stale' }) } end
local body, s = place(scope).body, key('s', scope)
local e = entry(body, step)
if req.lo >= 0 then
  call('LPUSH', key('q', scope, step), req.lo .. ':' .. req.hi .. ':' .. (req.attempt - 1))
  keep(key('q', scope, step))
  call('HINCRBY', s, step .. ':c', req.lo - req.hi)
else
  call('HINCRBY', s, step .. ':t', -1)
end
count(body, step, 'r', req.lo >= 0 and req.lo - req.hi or -1)
make_ready(scope, step, e.q)
drop_claim(piece, e.q)
return { cjson.encode({ state = 'none' }) }
