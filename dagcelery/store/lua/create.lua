-- Remember a run: its record, what is small of its plan, topology and parameters, and what may start. What is large was
-- staged before, so a run exists with all that it needs or not at all. This call comes in one pipeline with those that list
-- the run: `enroll` goes before it, so that a sweep finds every run that exists, and `look` behind it, so that the first sweep
-- comes soon. A client that dies before it leaves entries of lists, which go with the first look, and staged parts, which
-- expire; one that dies after it a run for whose ready steps the sweep sends messages. Again with the same id: nothing changes.
-- request: name, ttl, deadline (seconds, or null), outlives (failures do not end it), hooks (a queue), held,
--          reservation, fingerprint, trace, shown (parameters, as JSON), bodies (how many), queues, lists {token: items},
--          parts [[key below the run's, [field...]]...]. ARGV 2..: the bytes of all fields
if state then return reply({}) end
ttl, state = req.ttl, 'pending'
local record = { 'name', req.name, 'state', state, 'created', moment, 'ttl', ttl, 'queues', cjson.encode(req.queues), 'epoch', 1, 'scopes', 0, 'bodies', req.bodies }
local function add(name, value)
  record[#record + 1] = name
  record[#record + 1] = value
end
if req.deadline and req.deadline ~= cjson.null then
  add('deadline', string.format('%.6f', now + req.deadline))
  add('span', req.deadline)
end
for _, option in ipairs({ 'outlives', 'hooks', 'held', 'reservation', 'fingerprint', 'shown', 'trace' }) do
  if req[option] then add(option, req[option]) end
end
call('HSET', R, unpack(record))
call('EXPIRE', R, ttl)

local function write(name, fields, at) -- answers the place in ARGV of the last of their bytes
  for from = 1, #fields, 50 do
    local words = {}
    for i = from, math.min(from + 49, #fields) do
      words[#words + 1] = fields[i]
      words[#words + 1] = ARGV[at + i]
    end
    call('HSET', name, unpack(words))
  end
  keep(name)
  return at + #fields
end

local at = 1
for _, part in ipairs(req.parts) do at = write(R .. ':' .. part[1], part[2], at) end
write_lengths('0', req.lists, 0)
local ready = {}
for i, queue in ipairs(req.queues) do ready[i] = key('r', queue) end
revive(ready)
log('created', '', '0', -1, 0, moment, 0)
call('EXPIRE', key('e'), ttl)
begin_scope('0', '0')
return reply({})
