-- Give a claimed piece back unrun. A worker that dies before this call leaves its claim to the sweep, and one that dies
-- after it leaves a piece that is ready; repeated, it finds another's claim or none.
-- request: owner, scope, step, lo, hi, attempt
local scope, step, e = return_claim()
if not scope then return reply({ state = 'stale' }) end
make_ready(scope, step, e.q)
save_claim_counts()
return reply({})
