-- Make a step ready that was parked, before its time; one that is not parked stays as it is.
-- request: step ("scope/step")
local member = 'p/' .. req.step
if state and call('ZREM', key('d'), member) == 1 then unpark(string.match(req.step, '^(%w+)/(%-?%d+)$')) end
return { cjson.encode({ state = 'none', run = state or 'gone', opened = #opened > 0 and opened or nil }) }
