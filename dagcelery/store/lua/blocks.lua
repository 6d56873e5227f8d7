-- Read blocks of a list that overlap [lo, hi), in order, up to 1 MB: where to go on, and pairs of field and bytes.
-- request: scope, token, lo, hi
local origin, base = list_keys(req.scope, req.token)
local size, answer = 0, {}
local upto = math.min(req.hi, (math.floor(req.lo / 256) + 64) * 256)

local function overlapping(name)
  local fields = {}
  for _, field in ipairs(call('HKEYS', name)) do
    local from, to, attempt = string.match(field, '^(%d+):(%d+):(%d+)$')
    if tonumber(from) < req.hi and tonumber(to) > req.lo then
      fields[#fields + 1] = { tonumber(from), tonumber(attempt), field }
    end
  end
  table.sort(fields, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
  return fields
end

for cell = math.floor(req.lo / 256), math.floor((upto - 1) / 256) do
  local name = key('b', origin, base .. cell)
  for _, f in ipairs(overlapping(name)) do
    size = size + call('HSTRLEN', name, f[3])
    if (size > 1048576 or #answer >= 1000) and f[1] > req.lo and #answer > 0 then return { f[1], answer } end
    answer[#answer + 1] = f[3]
    answer[#answer + 1] = call('HGET', name, f[3])
  end
end
return { upto, answer }
