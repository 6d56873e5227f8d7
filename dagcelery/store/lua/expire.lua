-- Let what every run has live for `ttl` seconds from now on, or, if that is 0, for as long as at first; a run that is done
-- also lets go of what it needs no more. Again, it does the same. What is in the registry gets its time afterwards, in
-- portions, and the record then, since its time says that all was done: answers `more` where there is a registry, and the
-- record was left out. A process that dies before this call leaves a run that lives as long as one that is not over.
-- request: ttl
if not state then return reply({}) end
begin_with_removal()
local span = req.ttl > 0 and req.ttl or ttl

local function compact_events() -- a short stream takes 4 KB until it is copied; a long one would take too long
  local e, copy = key('e'), key('e', 'copy')
  if call('XLEN', e) > 100 or call('COPY', e, copy) == 0 then return end
  call('RENAME', copy, e)
end

local function settle() -- nothing is ready or claimed any more, nor will be unless it is cleared
  call('UNLINK', key('c'))
  for _, name in ipairs(ready_keys()) do call('UNLINK', name) end
  compact_events()
end

if state == 'done' and not hook and call('HLEN', key('c')) < 2 then settle() end
for kind in pairs(EVERY) do
  if kind ~= 'w' then call('EXPIRE', key(kind), kind == 't' and not is_active() and math.min(ANSWERS_LAST, span) or span) end
end
for _, name in ipairs(ready_keys()) do call('EXPIRE', name, span) end
local more = call('EXISTS', key('k')) == 1
if not more then call('EXPIRE', R, span) end
return reply({ ttl = span, more = more or nil, reservation = call('HGET', R, 'reservation') or nil })
