-- Let a run that was held go on; again, nothing changes. Answers what may start, whatever became of earlier messages: a
-- process that dies after this call leaves the sending to the sweep.
-- request: still (why it is held nevertheless, or null)
if not state then return reply({}) end
if req.still ~= cjson.null then
  if is_active() then call('HSET', R, 'held', req.still) end
  return reply({})
end
if held then call('HSET', R, 'since', moment) end
call('HDEL', R, 'held')
for _, queue in ipairs(is_active() and cjson.decode(call('HGET', R, 'queues')) or {}) do
  for _, member in ipairs(call('ZRANGE', key('r', queue), 0, 99)) do
    local scope, step = parse(member)
    if scope then
      local body = place(scope).body
      local items = entry(body, step).x ~= '' and tonumber(call('HGET', key('s', scope), step .. ':n')) or -1
      report_ready(scope, body, step, queue, items)
    end
  end
end
return reply({})
