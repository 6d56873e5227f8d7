-- Read how far steps [from, upto) of the root scope are, at one moment: a line for each, "began|seconds" of one that runs
-- once and is done, how many items of a fan-out are done, else nothing; with the last event, and the last act of clearing.
-- request: from, upto
local s, n, steps, rows = key('s', '0'), key('n'), {}, {}
for step = req.from, req.upto - 1 do steps[#steps + 1] = tostring(step) end
for i, step in ipairs(steps) do rows[i] = step .. ':d' end
local states, items = call('HMGET', s, unpack(steps)), call('HMGET', s, unpack(rows))
for i, step in ipairs(steps) do
  rows[i] = states[i] and string.match(states[i], '^d|[^|]*|([^|]*|[^|]*)') or ''
  if items[i] then rows[i] = tostring(items[i] + (call('HGET', n, '0.' .. step .. ':d') or 0)) end
end
local last = call('XREVRANGE', key('e'), '+', '-', 'COUNT', 1)[1]
return { table.concat(rows, '\n'), last and last[1] or '', call('HGET', R, 'clear_at') or '' }
