-- Give a claimed piece back unrun, because too many of its kind run: its step is not ready until `unblock`, or until
-- `seconds` are over. A worker that dies before this call leaves its claim to the sweep; one that dies after it, and
-- unblocks nothing, leaves that to the time.
-- request: owner, scope, step, lo, hi, attempt, seconds
local scope, step, e = return_claim()
if not scope then return reply({ state = 'stale' }) end
local member = scope .. '/' .. step
if req.lo >= 0 then call('ZREM', key('r', e.q), member) end
if not call('ZSCORE', key('d'), 'p/' .. member) then call('HINCRBY', R, 'waiting', 1) end
schedule('p/' .. member, now + req.seconds)
save_claim_counts()
return reply({})
