-- Make a step ready that was blocked, before its time; one that is not blocked stays as it is.
-- request: step ("scope/step")
local member = 'p/' .. req.step
if state and call('ZREM', key('d'), member) == 1 then unblock(string.match(req.step, '^(%w+)/(%-?%d+)$')) end
return { cjson.encode({ state = 'none', run = state or 'gone', opened = #opened > 0 and opened or nil }) }
