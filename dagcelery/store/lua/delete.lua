-- Let a run exist no longer, and tell those that wait for it; what it consists of is removed afterwards, in portions. A
-- full server takes it. A process that dies after this call leaves keys that expire.
call('UNLINK', R)
call('XADD', key('w'), '*', 'state', 'gone')
call('EXPIRE', key('w'), 60)
state = nil
return reply({})
