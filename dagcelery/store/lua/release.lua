-- Give a claimed piece back unrun. A worker that dies before this call leaves its claim to the sweep.
-- request: owner, scope, step, lo, hi, attempt
local scope, step = req.scope, tostring(req.step)
local piece = piece_name(scope, step, req.lo)
local claim = state and read_claim(piece)
if not claim or claim.attempt ~= req.attempt or claim.owner ~= req.owner then return { cjson.encode({ state = 'stale' }) } end
local body, s = place(scope).body, key('s', scope)
local e = entry(body, step)
if req.lo >= 0 then
  local q = key('q', scope, step)
  if call('LPUSH', q, req.lo .. ':' .. req.hi .. ':' .. (req.attempt - 1)) == 1 then keep(q) end
  call('HINCRBY', s, step .. ':c', req.lo - req.hi)
else
  call('HINCRBY', s, step .. ':t', -1)
end
make_ready(scope, step, e.q)
drop_claim(piece, e.q)
settle()
return { cjson.encode({ state = 'none' }) }
