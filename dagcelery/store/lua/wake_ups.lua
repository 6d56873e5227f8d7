-- Say how many messages a queue deserves, and count them as under way.
-- request: queue, slots, leaving, token (of this very call: repeated, it gets the same answer)
if held or not is_active() then return reply({ wake_ups = 0 }) end
local last, number = string.match(call('HGET', R, 'pc:' .. req.queue) or '', '^(.*) (%d+)$')
if last == req.token then return reply({ wake_ups = tonumber(number) }) end
local count = wake_ups(req.queue, req.slots, req.leaving)
if count > 0 then call('HSET', R, 'pc:' .. req.queue, req.token .. ' ' .. count) end
return reply({ wake_ups = count })
