-- Remember a run: its record, small parameters, and what may start. Large things were staged before, so a run exists
-- with all that it needs or not at all: a client that dies before this call leaves what expires, one that dies after it
-- a run for whose ready steps the sweep sends messages. Again with the same id: nothing changes.
-- request: name, ttl, deadline (seconds, or null), outlives (failures do not end it), hooks (a queue), held,
--          reservation, fingerprint, shown (parameters, as JSON), bodies (how many), queues, tokens [values in ARGV 2..], lists {token: items}
if state then return reply({}) end
ttl, state = req.ttl, 'pending'
call('HSET', R, 'name', req.name, 'state', state, 'created', moment, 'ttl', ttl, 'queues', cjson.encode(req.queues), 'epoch', 1, 'scopes', 0, 'bodies', req.bodies)
if req.deadline and req.deadline ~= cjson.null then
  call('HSET', R, 'deadline', string.format('%.6f', now + req.deadline), 'span', req.deadline)
end
for _, option in ipairs({ 'outlives', 'hooks', 'held', 'reservation', 'fingerprint', 'shown' }) do
  if req[option] then call('HSET', R, option, req[option]) end
end
call('EXPIRE', R, ttl)
local s = key('s', '0')
local o = key('o', '0')
call('HSET', o, '', '')
for i, token in ipairs(req.tokens) do call('HSET', o, token, ARGV[i + 1]) end
write_lengths('0', req.lists, 0)
call('HSET', key('c'), '', '')
call('HSET', key('t'), '', '')
call('HSET', key('n'), '', '', '0:scopes', 1)
log('created', '', '0', -1, 0, moment, 0)
for _, queue in ipairs(req.queues) do
  call('ZADD', key('r', queue), '+inf', '')
  keep(key('r', queue))
end
begin_scope('0', '0')
for _, name in ipairs({ s, o, key('c'), key('t'), key('n'), key('e') }) do keep(name) end
return reply({})
