-- Write a portion of something large under a name that is not read yet. Repeating it writes the same again; what a
-- dead worker staged stays unread until its TTL or the run's deletion. For a run that is gone nothing is written.
-- Portions have numbers, as a server that took over from another one may lack the last ones that this one had: then
-- nothing is written, and the answer says `lost`; and so it is if the number of a child plan was lost, and given again.
-- request: key (below the run's key), fields, ttl (of a run not yet created), staged [token of the call, number of the
--          portion]. ARGV 2..: bytes of the fields
if not state and req.ttl == cjson.null then return reply({}) end
local name, token, number = R .. ':' .. req.key, req.staged[1], req.staged[2]
if number > 1 and lacks_staged(number - 1) then return reply({ lost = true }) end
local owner = req.fields[1] == 'of' and call('HGET', name, 'of')
if owner and owner ~= ARGV[2] then return reply({ lost = true }) end
for i, field in ipairs(req.fields) do call('HSET', name, field, ARGV[i + 1]) end
keep(name)
call('HSET', key('sg'), token, number)
keep(key('sg'))
return reply({})
