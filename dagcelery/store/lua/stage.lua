-- Write a portion of something large under a name that is not read yet. Repeating it writes the same again; what a
-- dead worker staged stays unread until its TTL or the run's deletion. For a run that is gone nothing is written.
-- request: key (below the run's key), fields, ttl (of a run not yet created). ARGV 2..: bytes of the fields
if not state and req.ttl == cjson.null then return reply({}) end
local name = R .. ':' .. req.key
for i, field in ipairs(req.fields) do call('HSET', name, field, ARGV[i + 1]) end
keep(name)
return reply({})
