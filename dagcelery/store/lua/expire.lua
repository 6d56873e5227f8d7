-- Let what every run has live for `ttl` seconds from now on, or, if that is 0, for as long as at first; see `settle`. Again, it
-- does the same. What is in the registry gets its time afterwards, in portions, and the record then, since its time says
-- that all was done. A process that dies before that leaves a run that lives as long as one that is not over.
-- request: ttl. Answers the `ttl`, `more` where the record was left out, and the reservation
if not state then return reply({}) end
begin_with_removal()
local span = req.ttl > 0 and req.ttl or ttl
settle(span)
local more, reservation = call('EXISTS', key('k')) == 1, call('HGET', R, 'reservation')
return reply({ ttl = span, more = more or nil, reservation = reservation or nil })
