-- Let a run exist no longer, with what every run has, and tell those that wait for it; what else it consists of is named in
-- the registry and removed afterwards, in portions. A full server takes it. A process that dies after this call leaves
-- keys that expire.
local names = ready_keys()
for kind in pairs(EVERY) do names[#names + 1] = key(kind) end
call('UNLINK', R, unpack(names))
call('XADD', key('w'), '*', 'state', 'gone')
call('EXPIRE', key('w'), 10)
state = nil
return reply({})
