-- Make a step ready that was blocked, before its time; one that is not blocked stays as it is. A worker that dies before
-- this call leaves that to the time; repeated, it changes nothing.
-- request: step ("scope/step")
if state and call('ZREM', key('d'), 'p/' .. req.step) == 1 then timing().unblock(parse(req.step)) end
return reply({})
