-- Comes behind the claims in `finish`, `fail` and `delegate`: what pieces have logged, a text for all items of a range. A
-- run whose pieces log must not fill the store: of texts of failed pieces the first 1,000 are kept, of all others the
-- newest 1,000, and 4 MB of either. Nothing is written of a piece that logged nothing, or that may not commit.
-- in lg: <scope>/<step>[/<lo>:<hi>]@<attempt>/<body> the text; #<k> the name of text number k; #n how many came, #gone how
-- many of these are gone, #b bytes of the others; #f, #fb number and bytes of those of failed pieces, which have no number
local LOGS, LOG_BYTES = 1000, 4194304

local function make_room(l, bytes)
  local numbers = call('HMGET', l, '#n', '#gone')
  local last, gone = tonumber(numbers[1] or 0), tonumber(numbers[2] or 0)
  while gone < last and (last - gone > LOGS or bytes > LOG_BYTES) do
    gone = gone + 1
    local oldest = call('HGET', l, '#' .. gone)
    bytes = bytes - call('HSTRLEN', l, oldest)
    call('HDEL', l, oldest, '#' .. gone)
  end
  call('HSET', l, '#gone', gone, '#b', bytes)
end

-- A text of the same name is of a piece that was taken back with its scope.
local function keep_log(p, body, text, has_failed)
  local l, at = key('lg'), p.lo >= 0 and '/' .. p.lo .. ':' .. p.hi or ''
  local name = p.scope .. '/' .. p.step .. at .. '@' .. p.attempt .. '/' .. body
  local grown, failed = #text - call('HSTRLEN', l, name), call('HMGET', l, '#f', '#fb')
  local is_new = call('HSET', l, name, text)
  if has_failed and tonumber(failed[1] or 0) < LOGS and tonumber(failed[2] or 0) + grown <= LOG_BYTES then
    call('HINCRBY', l, '#f', is_new)
    call('HINCRBY', l, '#fb', grown)
  else
    if is_new == 1 then call('HSET', l, '#' .. call('HINCRBY', l, '#n', 1), name) end
    make_room(l, call('HINCRBY', l, '#b', grown))
  end
  keep(l)
end
