-- Comes behind the claims in `finish`, `fail` and `delegate`: what pieces have logged, a text for all items of a range. A
-- run whose pieces log must not fill the store: of texts of failed pieces the first 1,000 are kept, of all others the
-- newest 1,000, and 4 MB of either. Nothing is written of a piece that logged nothing, or that may not commit.
-- in lg: <scope>/<step>[/<lo>:<hi>]@<attempt>/<body> the text; #<k> the name of text number k; #n how many came, #gone how
-- many of these are gone, #b bytes of the others; #f, #fb number and bytes of those of failed pieces, which have no number
local LOGS, LOG_BYTES = 1000, 4194304

local function make_room(l, last, gone, bytes) -- for the last one, which is not there yet: how many are gone, and bytes
  while gone < last - 1 and (last - gone > LOGS or bytes > LOG_BYTES) do
    gone = gone + 1
    local oldest = call('HGET', l, '#' .. gone)
    bytes = bytes - call('HSTRLEN', l, oldest)
    call('HDEL', l, oldest, '#' .. gone)
  end
  return gone, bytes
end

-- A text of the same name is of a piece that was taken back with its scope.
local function keep_log(p, body, text, has_failed)
  local l, items = key('lg'), p.lo >= 0 and '/' .. p.lo .. ':' .. p.hi or ''
  local name = p.scope .. '/' .. p.step .. items .. '@' .. p.attempt .. '/' .. body
  local was, numbers = call('HSTRLEN', l, name), call('HMGET', l, '#n', '#gone', '#b', '#f', '#fb')
  for i = 1, 5 do numbers[i] = tonumber(numbers[i] or 0) end
  local last, gone, bytes, failed, failed_bytes = unpack(numbers)
  local new, grown = was == 0 and 1 or 0, #text - was
  if has_failed and failed < LOGS and failed_bytes + grown <= LOG_BYTES then
    call('HSET', l, name, text, '#f', failed + new, '#fb', failed_bytes + grown)
  else
    last = last + new
    gone, bytes = make_room(l, last, gone, bytes + grown)
    call('HSET', l, name, text, '#n', last, '#gone', gone, '#b', bytes)
    if new == 1 then call('HSET', l, '#' .. last, name) end
  end
  keep(l)
end
