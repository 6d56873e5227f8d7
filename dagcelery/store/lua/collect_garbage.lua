-- Remove payloads that no step reads any more; again, nothing changes. Nothing is freed of a run that is being cleared,
-- or was since it was looked at: what it had done may have to be done again. A worker that dies in between leaves the
-- step marked, and the next one looks for its keys again.
-- request: generation (in which it was looked at), steps (of the root scope, whose values go), names (of keys that go)
if not state or call('HEXISTS', R, 'clearing') == 1 or tonumber(generation or 0) ~= req.generation then
  return reply({ stale = true })
end

begin_with_removal()

local function free_values(step) -- the lengths of lists stay, they are needed to count items
  local o, at, removed = key('o', '0'), 0, 0
  call('HSET', key('s', '0'), step .. ':x', 1)
  repeat
    removed = 0
    for i = at, at + 7 do
      local token = step .. '.' .. i
      removed = removed + call('HDEL', o, token) + call('HEXISTS', o, token .. '#')
    end
    at = at + 8
  until removed == 0
end

for _, step in ipairs(req.steps) do free_values(step) end
for _, name in ipairs(req.names) do
  call('UNLINK', R .. ':' .. name)
  call('SREM', key('k'), name)
end
return reply({ stale = false })
