-- Comes behind the claims, in the same function: pieces of tasks that await, which one worker executes side by side.
--
-- Each is a claim of its own, so that each is committed, fails and is tried again by itself; items of one range are granted
-- as one, since they travel with the same inputs. They have company, as pieces of a batch have: a death counts for none of
-- them, but each is claimed alone from then on. What takes less than a millisecond is not worth a claim of its own, where
-- nothing is awaited. While a worker awaits some it is granted nothing else, which would hold them up.
-- All this is made when it is asked for: most calls need none of it, and each function that Lua makes takes time.
function side_by_side(want, first) -- nil, or what is granted: of what comes first, if that is awaited, and of others
  local MOST, RANGE_OF_SHORT, BATCH_OF_SHORT, TOLD = 64, 50, 5, 4
  local claims, left, company = {}, math.min(want.beside, MOST), want.others and MATE or nil

  local function is_awaited(body, step)
    local e = entry(body, step)
    if not (e.aw and e.s) or #(e.se or {}) > TOLD then return false end -- all of a commit tell their successors
    if want.others then return true end
    if e.x == '' then return ((want.short or {})[e.f] or 1) < BATCH_OF_SHORT end
    return ((want.ranges or {})[body .. '.' .. step] or 1) < RANGE_OF_SHORT
  end

  local function share(scope, step) -- how many pieces of a step one of its workers may take at once
    if want.slots == 1 then return MOST end
    local counts = call('HMGET', key('s', scope), step .. ':n', step .. ':c')
    return math.max(1, math.ceil((tonumber(counts[1] or 1) - tonumber(counts[2] or 0)) / (2 * want.slots)))
  end

  local function next_of(scope, step) -- its first item, and how many attempts there were; nil if nothing may come beside others
    local lo, hi, attempts = -1, nil, nil
    if entry(place(scope).body, step).x == '' then
      attempts = call('HGET', key('s', scope), step .. ':t') or '0'
    else
      lo, hi, attempts = string.match(call('LINDEX', key('q', scope, step), 0) or '', '^(%d+):(%d+):(%d+)')
      if not lo or lo == hi then return nil end -- a fan-out without items is claimed as a whole
    end
    if attempts ~= '0' and call('HEXISTS', key('y'), piece_name(scope, step, tonumber(lo)) .. ':d') == 1 then return nil end
    return tonumber(lo)
  end

  local function write_claims(scope, body, step, lo, hi, attempt)
    local records = {}
    for i = lo, math.max(lo, hi - 1) do
      records[#records + 1] = piece_name(scope, step, i)
      records[#records + 1] = claim_text(body, i < 0 and -1 or i + 1, attempt, want.owner, want.message, nil, company or FIRST)
      if not company then count_claim(want.queue, 1) end
      company = MATE
    end
    call('HSET', key('c'), unpack(records))
    return #records / 2
  end

  local function take_some(member, most) -- how many pieces were claimed of a ready step; nil if none
    local scope, step = parse(member)
    local p, lo = place(scope), next_of(scope, step)
    if not lo or is_poisoned(member) then return nil end
    local hi, attempt, items = -1, nil, -1
    if lo < 0 then
      attempt = call('HINCRBY', key('s', scope), step .. ':t', 1)
      call('ZREM', key('r', want.queue), member)
      note_wait(ready_since(scope, step))
    else
      lo, hi, attempt, items = take_range(scope, p.body, step, want, most)
    end
    local granted = grant(p, scope, step, lo, hi, attempt, items)
    granted[8], granted[9] = '', 1
    claims[#claims + 1] = granted
    return write_claims(scope, p.body, step, lo, hi, attempt)
  end

  local function take(member) -- as much of it as this worker may; is it awaited?
    local scope, step = parse(member)
    if not scope or not is_awaited(place(scope).body, step) then return false end
    local most = math.min(left, share(scope, step))
    while most > 0 do
      local number = take_some(member, most)
      if not number then return true end
      left, most = left - number, entry(place(scope).body, step).x == '' and 0 or most - number
    end
    return true
  end

  if not take(first) and not want.others then return nil end
  if left > 0 and not refused and not skips then
    for _, member in ipairs(call('ZRANGE', key('r', want.queue), 0, PART - 1)) do
      if member ~= first then take(member) end
    end
  end
  return claims[1] and claims
end
