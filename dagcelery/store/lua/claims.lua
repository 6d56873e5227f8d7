-- Comes behind the prelude in every verb of a worker: claims, what travels along with them, and how a verb answers.

-- claims ------------------------------------------------------------------------------------------------------------
local function piece_name(scope, step, lo)
  return lo >= 0 and (scope .. '/' .. step .. '/' .. lo) or (scope .. '/' .. step)
end

local function parse_claim(text)
  if not text then return nil end
  local hi, attempt, owner, message, started, cursor, company = string.match(text, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|%d*|?(.*)$')
  return { hi = tonumber(hi), attempt = tonumber(attempt), owner = owner, message = message, started = started, cursor = cursor ~= '' and cursor or nil, company = company ~= '' and company or nil }
end

local function read_claim(piece) return parse_claim(call('HGET', key('c'), piece)) end

local MATE, FIRST = 'm', 'f' -- the company of a claim: it was claimed behind others, or others may be executed behind it
local function claim_text(body, hi, attempt, owner, message, cursor, company)
  return hi .. '|' .. attempt .. '|' .. owner .. '|' .. message .. '|' .. moment .. '|' .. (cursor or '') .. '|' .. body .. (company and '|' .. company or '')
end

local function write_claim(piece, ...) call('HSET', key('c'), piece, claim_text(...)) end

local BATCH = 32 -- pieces that one call claims
local SKIPPED = 'x' -- the cursor of a claim whose piece was skipped with its scope, and which only has to go

local function is_owner(claim, attempt) return claim and claim.attempt == attempt and claim.owner == req.owner end

-- By queue, how many claims more there are than before this call. Of a batch the first one counts. If that is committed
-- ahead of the others, its process counts as free until they are: it may be sent a message for nothing, which costs less
-- than to find out, in each commit, which one of the others is to count instead.
local busy = {}
local function count_claim(queue, by) busy[queue] = (busy[queue] or 0) + by end
local function save_claim_counts()
  for queue, by in pairs(busy) do
    if by ~= 0 then call('HINCRBY', R, 'c:' .. queue, by) end
  end
end

local function drop_claim(piece, claim, queue)
  if together then together.claims[#together.claims + 1] = piece else call('HDEL', key('c'), piece) end
  if claim.company ~= MATE then count_claim(queue, -1) end
end

local function push_unrun(scope, step, lo, hi, attempts) -- items that were claimed and not called come first again
  local q = key('q', scope, step)
  if call('LPUSH', q, range_text(lo, hi, attempts)) == 1 then keep(q) end
  call('HINCRBY', key('s', scope), step .. ':c', lo - hi)
end

local function return_claim() -- gives the piece of the request back unrun: scope, step, entry; nil if it is another's
  local scope, step = req.scope, tostring(req.step)
  local piece = piece_name(scope, step, req.lo)
  local claim = state and read_claim(piece)
  if not is_owner(claim, req.attempt) then return nil end
  local e = entry(place(scope).body, step)
  if claim.cursor then
    drop_claim(piece, claim, e.q)
    save_claim_counts()
    return nil
  end
  if req.lo >= 0 then
    push_unrun(scope, step, req.lo, req.hi, req.attempt - 1)
  else
    call('HINCRBY', key('s', scope), step .. ':t', -1)
  end
  drop_claim(piece, claim, e.q)
  return scope, step, e
end

local waits = {} -- seconds from when each claim of this call was ready until it is claimed; -1 where nothing tells
local function note_wait(at)
  at = tonumber(at or nil)
  waits[#waits + 1] = at and tonumber(string.format('%.6f', math.max(0, now - math.max(at, since)))) or -1
end

local function ready_since(scope, step) -- of what runs once, for the last time
  local fresh = readied[scope] and readied[scope][step]
  if fresh then
    readied[scope][step] = nil
    return fresh
  end
  local s, field = key('s', scope), step .. ':r'
  local at = call('HGET', s, field)
  if at then call('HDEL', s, field) end
  return at
end

local function take_range(scope, body, step, want, beside) -- `beside`: as many claims
  local q, s = key('q', scope, step), key('s', scope)
  local lo, hi, attempts, at = string.match(call('LINDEX', q, 0), '^(%d+):(%d+):(%d+)(@?[%d.]*)')
  lo, hi = tonumber(lo), tonumber(hi)
  local counts = call('HMGET', s, step .. ':n', step .. ':c', step .. ':v', step .. ':t', step .. ':l')
  local items, claimed, before = tonumber(counts[1]), tonumber(counts[2] or 0), tonumber(counts[3] or 0)
  local attempt = math.max(tonumber(attempts), before) + 1
  if attempt > 1 and attempt > tonumber(counts[4] or 0) then call('HSET', s, step .. ':t', attempt) end
  local size = not entry(body, step).tl and (want.ranges or {})[body .. '.' .. step] or 1 -- a time limit is an item's
  local most = math.floor(512 / math.max(1, 2 * #(entry(body, step).se or {}))) -- each item may tell each of them
  size = beside or math.max(1, math.min(size, math.ceil((items - claimed) / (2 * want.slots)), most))
  call('HINCRBY', s, step .. ':c', math.min(size, hi - lo)) -- first: a full server refuses it, and with it the claim
  if hi - lo > size then
    call('LSET', q, 0, (lo + size) .. ':' .. hi .. ':' .. attempts .. at)
    hi = lo + size
  else
    call('LPOP', q)
    if call('EXISTS', q) == 0 then call('ZREM', key('r', want.queue), scope .. '/' .. step) end
  end
  note_wait(at ~= '' and string.sub(at, 2) or counts[5])
  return lo, hi, attempt, items
end

local function why_poisoned(piece, member) -- nil, or why a piece shall fail without being called
  local why = call('HMGET', key('z'), piece, member)
  return why[1] or why[2] or nil
end

local PART = 64
local function sample(queue) -- of a ready set in which something is refused: what comes first may hide all the rest from a worker
  local r = key('r', queue)
  local size = call('ZCARD', r)
  if size <= 3 * PART then return call('ZRANGE', r, 0, -1) end
  local members = {}
  for _, from in ipairs({ 0, size - PART, PART + tonumber(clock[2]) % (size - 2 * PART) }) do -- the last part is another one each time
    for _, member in ipairs(call('ZRANGE', r, from, from + PART - 1)) do members[#members + 1] = member end
  end
  return members
end

local function step_name(member) -- under which its refusals are
  local scope, step = parse(member)
  return (place(scope).body or '') .. '.' .. step
end

local function is_poisoned(member) -- the first of it that may be claimed; to let it fail nothing is needed
  if not poisoned then return false end
  local scope, step = parse(member)
  local lo = string.match(call('LINDEX', key('q', scope, step), 0) or '', '^%d+')
  return why_poisoned(piece_name(scope, step, tonumber(lo) or -1), member) ~= nil
end

local function is_recent(refusal) return refusal and now - tonumber(string.match(refusal, '^[^|]*')) <= 60 end

local lacking = {} -- by step, whether the wanting worker said within the last minute that it lacks what it needs
local is_left = false -- the wanting worker left something ready to others
local function may_take(want, member)
  if not refused then return true end
  local name = step_name(member)
  if lacking[name] == nil then
    lacking[name] = is_recent(call('HGET', key('no'), string.match(want.owner, '^[^:]*') .. ' ' .. name)) or false
  end
  if not lacking[name] or is_poisoned(member) then return true end
  is_left = true
  return false
end

local function first_member(want, members) -- that may be claimed
  for _, member in ipairs(members) do
    if member ~= '' and may_take(want, member) then
      if not is_skipped((parse(member))) then return member end
      call('ZREM', key('r', want.queue), member) -- while a large scope is being skipped, what is ready in it may still be there
    end
  end
end

local function next_to_claim(want)
  local r = key('r', want.queue)
  if not is_active() then
    return hook == want.queue and call('ZSCORE', r, '0/-3') and first_member(want, { '0/-3' })
  end
  local focus = want.focus and call('ZSCORE', r, want.focus) and first_member(want, { want.focus })
  if focus or want.only then return focus end
  local first = first_member(want, call('ZRANGE', r, 0, 0))
  if first then return first end
  return first_member(want, refused and sample(want.queue) or skips and call('ZRANGE', r, 0, 99) or {})
end

local function calls_in_batch(want, e) -- how many calls of its function a batch may have, nil if none
  return e.f and not e.al and e.s and e.x == '' and want.short and want.short[e.f]
end

local function grant(p, scope, step, lo, hi, attempt, items)
  return { scope, tonumber(step), lo, hi, attempt, items, { p.parent, tonumber(p.step), p.index, tonumber(p.body), p.depth } }
end

local function claim_member(want, member)
  local scope, step = parse(member)
  local p, s = place(scope), key('s', scope)
  local e, lo, hi, attempt, items = entry(p.body, step), -1, -1, nil, -1
  if e.x and e.x ~= '' then
    lo, hi, attempt, items = take_range(scope, p.body, step, want)
  else
    attempt = call('HINCRBY', s, step .. ':t', 1) -- first, as above
    call('ZREM', key('r', want.queue), member)
    note_wait(tonumber(step) < 0 and moment or ready_since(scope, step))
  end
  local piece = piece_name(scope, step, lo)
  local company = attempt == 1 and calls_in_batch(want, e) and FIRST or nil
  write_claim(piece, p.body, hi, attempt, want.owner, want.message, nil, company)
  count_claim(want.queue, 1)
  if refused then call('HDEL', key('no'), string.match(want.owner, '^[^:]*') .. ' ') end -- it can read the run after all
  local granted = grant(p, scope, step, lo, hi, attempt, items)
  if poisoned then granted[8] = why_poisoned(piece, member) end
  return granted
end

local function candidates(queue, most) -- what is ready first, with what decides whether it may come in a batch
  local found, scopes = {}, {}
  for i, member in ipairs(call('ZRANGE', key('r', queue), 0, most - 1)) do
    local scope, step = parse(member)
    if not scope then break end
    local others = scopes[scope] or { steps = {}, attempts = {} }
    scopes[scope] = others
    local at = #others.steps + 1
    others.steps[at], others.attempts[2 * at - 1], others.attempts[2 * at] = step, step .. ':t', step .. ':r'
    found[i] = { scope = scope, step = step, place = place(scope), others = others, at = at }
  end
  for scope, of in pairs(scopes) do
    read_entries(place(scope).body, of.steps)
    of.begun = call('HMGET', key('s', scope), unpack(of.attempts))
  end
  return found
end

local function claim_together(want, found, number) -- the first ones, each for the first time; answers what is granted of each
  local attempts, members, records, granted, noted = {}, {}, {}, {}, {}
  for i = 1, number do
    local f = found[i]
    local member, fields = f.scope .. '/' .. f.step, attempts[f.scope] or {}
    attempts[f.scope] = fields
    fields[#fields + 1], fields[#fields + 2] = f.step .. ':t', 1
    members[i] = member
    records[2 * i - 1], records[2 * i] = member, claim_text(f.place.body, -1, 1, want.owner, want.message, nil, MATE)
    granted[i] = grant(f.place, f.scope, f.step, -1, -1, 1, -1)
    local fresh, at = readied[f.scope] and readied[f.scope][f.step], f.others.begun[2 * f.at]
    note_wait(fresh or at)
    if fresh then readied[f.scope][f.step] = nil end
    if at then
      local gone = noted[f.scope] or {}
      noted[f.scope], gone[#gone + 1] = gone, f.step .. ':r'
    end
  end
  for scope, fields in pairs(noted) do call('HDEL', key('s', scope), unpack(fields)) end
  for scope, fields in pairs(attempts) do call('HSET', key('s', scope), unpack(fields)) end
  call('ZREM', key('r', want.queue), unpack(members))
  call('HSET', key('c'), unpack(records))
  return granted
end

-- A batch: what runs once and is known to be short. It takes as many as are ready for each process twice, and as take no
-- longer than half the hand-off time together; of what takes a tenth of that, which is less than a call to the store, as
-- many as are ready for each process, and a few in any case: others would have to come for them. `want.short` says of a
-- function how many of its calls fit. What was lost before is claimed alone: it may be what ended its process, and others
-- shall not be lost with it. So is what has many successors.
local TINY, FEW = 0.1, 8
local function claim_more(want, claims)
  local first = claims[1]
  local calls = first[5] == 1 and not first[8] and calls_in_batch(want, entry(tostring(first[7][4]), tostring(first[2])))
  if not calls or refused or skips or poisoned then return end
  local ready = call('ZCARD', key('r', want.queue))
  local each = ready / want.slots
  local most, few = math.min(BATCH, math.max(math.ceil(each), math.min(ready, FEW))), math.ceil(each / 2)
  if most < 2 then return end
  local found, taken, number = candidates(want.queue, most - 1), 1 / calls, 0
  for i, f in ipairs(found) do
    calls = calls_in_batch(want, entry(f.place.body, f.step))
    taken = taken + (calls and 1 / calls or 1)
    if taken > (i < few and 1 or TINY) + 0.000001 or tonumber(f.others.begun[2 * f.at - 1] or 0) > 0 then break end
    number = i
  end
  if number == 0 then return end
  for i, granted in ipairs(claim_together(want, found, number)) do claims[i + 1] = granted end
end

local side_by_side -- what a worker awaits beside each other: see beside.lua

local function claim_next(want) -- nil, or what is claimed
  local member = next_to_claim(want)
  if not member or (held and is_active()) then return nil end
  if state == 'pending' then
    state = 'running'
    call('HSET', R, 'state', state, 'started', moment)
  end
  local beside = want.beside and is_active() and side_by_side(want, member)
  if beside or want.others then return beside or nil end
  local claims = { claim_member(want, member) }
  if want.short then claim_more(want, claims) end
  return claims
end

-- inputs ------------------------------------------------------------------------------------------------------------
local INLINE, STAGED = 65536, 64 -- '@' begins the name of what is kept in chunks

local function blocks_of(scope, token, lo, hi, limit) -- pairs of field and bytes, and their size; false if too large
  local origin, base = list_keys(scope, token)
  local blocks, size = {}, 0
  for cell = math.floor(lo / 256), math.floor((hi - 1) / 256) do
    local name = key('b', origin, base .. cell)
    for _, field in ipairs(call('HKEYS', name)) do
      local from, to = string.match(field, '^(%d+):(%d+):')
      if tonumber(from) < hi and tonumber(to) > lo then
        size = size + call('HSTRLEN', name, field)
        if size > limit then return false, 0 end
        blocks[#blocks + 1] = field
        blocks[#blocks + 1] = call('HGET', name, field)
        if string.byte(blocks[#blocks]) == STAGED then return false, 0 end
      end
    end
  end
  return blocks, size
end

local function few_values(scope, tokens) -- all at once, if all are of this scope
  for _, token in ipairs(tokens) do
    if string.byte(token) == 94 then return nil end
  end
  return tokens[1] and call('HMGET', key('o', scope), unpack(tokens))
end

local function value_of(scope, token, limit, bytes) -- bytes and their size; false if there are none, or more than `limit`
  if bytes == nil then
    local origin, plain = resolve(scope, token)
    local o = key('o', origin)
    if call('HSTRLEN', o, plain) > limit then return false, 0 end
    bytes = call('HGET', o, plain)
  end
  if not bytes or #bytes > limit or string.byte(bytes) == STAGED then return false, 0 end
  return bytes, #bytes
end

local function inputs(g, left) -- what travels along with a claim: token names, small whole values, small blocks; false: read it apart
  local body, step = tostring(g[7][4]), tostring(g[2])
  local text, size = entry(body, step).i, 0
  if not text or (g[8] and not g[9]) then return nil end
  if text == 1 then text = call('HGET', topology_key(body), step .. ':i') end
  local tokens, values, lists = cjson.decode(text), {}, {}
  local few = #tokens[1] <= 4 and few_values(g[1], tokens[1])
  for i, token in ipairs(tokens[1]) do
    values[i], size = value_of(g[1], token, left, few and few[i])
    left = left - size
  end
  for i, token in ipairs(g[4] > g[3] and tokens[2] or {}) do
    lists[i], size = blocks_of(g[1], token, g[3], g[4], left)
    left = left - size
  end
  return text, values, lists
end

-- Write values and blocks; their bytes follow place `at` of ARGV. Answers the place of the last one.
local function write_payloads(scope, attempt, about, at)
  local o, tokens, blocks = key('o', scope), about.tokens or {}, about.blocks or {}
  for i, token in ipairs(tokens) do set(o, token, ARGV[at + i]) end
  if #tokens > 0 and scope ~= '0' then keep_when_written(o) end
  at = at + #tokens
  for i, block in ipairs(blocks) do
    local name = key('b', scope, block[1] .. '@' .. attempt .. ':' .. math.floor(block[2] / 256))
    call('HSET', name, block[2] .. ':' .. block[3] .. ':' .. block[4], ARGV[at + i])
    keep(name)
  end
  return at + #blocks
end

-- what is due ------------------------------------------------------------------------------------------------------
local timing_verbs
local function timing() -- made when it is asked for: most calls need none of it, and each function that Lua makes takes time
  if timing_verbs then return timing_verbs end
  local function poison(piece, why)
    call('HSET', key('z'), piece, why)
    keep(key('z'))
    poisoned = '1'
    call('HSET', R, 'poisoned', poisoned)
  end

  if req.seed then math.randomseed(req.seed) end -- else each script would draw the same numbers
  local function wait_before_next(policy, tries) -- seconds; varied, if the policy says so, lest what failed together comes back together
    local seconds = policy.base > 0 and math.min(policy.maximum, policy.base * policy.factor ^ (tries - 1)) or 0
    return policy.jitter and seconds * (0.5 + math.random() / 2) or seconds
  end

  local function retry_later(scope, body, step, lo, hi, attempts, seconds)
    local member = table.concat({ 'r', scope, step, lo, hi, attempts }, '/')
    schedule(member, now + seconds)
    if lo >= 0 and place(scope).guard ~= '' then
      call('RPUSH', key('l', scope), member)
      keep(key('l', scope))
    end
    call('HINCRBY', R, 'waiting', 1)
    count(body, step, 'w', 1)
  end

  local function forget_retry(body, step)
    call('HINCRBY', R, 'waiting', -1)
    count(body, step, 'w', -1)
  end

  local function retry_now(scope, body, step, lo, hi, attempts, member, at)
    forget_retry(body, step)
    if lo >= 0 and place(scope).guard ~= '' then call('LREM', key('l', scope), 1, member) end
    if lo >= 0 then push_range(scope, step, lo, hi, attempts, nil, at) end
    make_ready_and_report(scope, body, step, entry(body, step).q, at)
  end

  local function unblock(scope, step) -- what waited for others of its kind may try again
    call('HINCRBY', R, 'waiting', -1)
    local body = place(scope).body
    local e = entry(body, step)
    if e.x ~= '' and call('EXISTS', key('q', scope, step)) == 0 then return end
    make_ready_and_report(scope, body, step, e.q)
  end

  local function check_start(scope, body, step) -- has it not begun for as long as its task allows?
    local e, begun = entry(body, step), call('HMGET', key('s', scope), step .. ':t', step .. ':c', step .. ':v')
    local member, since = scope .. '/' .. step, held and now or tonumber(call('HGET', R, 'since') or 0)
    if tonumber(begun[1] or 0) > tonumber(begun[3] or 0) or tonumber(begun[2] or 0) > 0 then return end
    if now < since + e.sw then return schedule('w/' .. member, since + e.sw) end -- it could not begin while the run was held or over
    if call('ZSCORE', key('r', e.q), member) then poison(member, 'start_within') end
  end

  local function run_due()
    local d = key('d')
    for _, member in ipairs(call('ZRANGEBYSCORE', d, '-inf', now, 'LIMIT', 0, 50)) do
      local at = string.format('%.6f', call('ZSCORE', d, member))
      call('ZREM', d, member)
      local kind, scope, step, lo, hi, attempts = string.match(member, '^(%a)/(%w+)/(%-?%d+)/?(%-?%d*)/?(%-?%d*)/?(%d*)$')
      local body, skipped = place(scope).body, is_skipped(scope)
      if kind == 'r' and skipped then
        forget_retry(body, step)
      elseif kind == 'r' then
        retry_now(scope, body, step, tonumber(lo), tonumber(hi), tonumber(attempts), member, at)
      elseif kind == 'p' then
        unblock(scope, step)
      else
        check_start(scope, body, step)
      end
    end
    due = tonumber(call('ZRANGE', d, 0, 0, 'WITHSCORES')[2])
    if due then call('HSET', R, 'due', string.format('%.6f', due)) else call('HDEL', R, 'due') end
  end

  local function is_any_live() -- is anything claimed that the run waits for?
    if not skips then return call('HLEN', key('c')) > 1 end
    for _, piece in ipairs(call('HKEYS', key('c'))) do
      if piece ~= '' and read_claim(piece).cursor ~= SKIPPED then return true end
    end
    return false
  end

  local function end_if_quiet() -- a run that outlives failures ends when nothing can be done any more
    if is_any_live() or tonumber(call('HGET', R, 'waiting') or 0) > 0 then return end
    for _, queue in ipairs(cjson.decode(call('HGET', R, 'queues'))) do
      if call('ZCARD', key('r', queue)) > 1 then return end
    end
    end_run('failed', call('HGET', R, 'failed'))
  end
  timing_verbs = {
    poison = poison,
    wait_before_next = wait_before_next,
    retry_later = retry_later,
    forget_retry = forget_retry,
    unblock = unblock,
    run_due = run_due,
    end_if_quiet = end_if_quiet,
  }
  return timing_verbs
end

-- wake-ups ----------------------------------------------------------------------------------------------------------
-- How many messages a queue deserves: as many as there are ready pieces, less what the processes of that queue already do or
-- were told of; they count as under way. Wake-ups that have not arrived after a second count as lost: so are those of a
-- worker that dies before it sends them, and one that comes to a worker which refuses this. So a worker that leaves a run
-- of which something was refused sends one in any case.
local function wake_ups(queue, slots, is_leaving)
  local numbers = call('HMGET', R, 'c:' .. queue, 'p:' .. queue, 'pt:' .. queue)
  local claims, pending, at = tonumber(numbers[1] or 0), tonumber(numbers[2] or 0), tonumber(numbers[3] or 0)
  if now - at > 1 then pending = 0 end
  local free, pieces = slots - claims - pending - (busy[queue] or 0), 0

  local function waiting(member) -- pieces of a ready step: items of a fan-out that may be claimed, or the step itself
    local items, scope, step = 0, parse(member)
    if not scope then return 0 end
    for _, range in ipairs(call('LRANGE', key('q', scope, step), 0, free - 1)) do
      local lo, hi = string.match(range, '^(%d+):(%d+):')
      items = items + math.max(1, hi - lo)
    end
    return math.max(1, items)
  end

  for _, member in ipairs(free > 0 and call('ZRANGE', key('r', queue), 0, free - 1) or {}) do
    if pieces < free then pieces = pieces + waiting(member) end
  end
  local number = math.max(0, math.min(free, pieces))
  if refused then number = math.min(1, number) end -- not all of those processes may do this
  if refused and is_leaving and call('ZCARD', key('r', queue)) > 1 then
    number = 1
    call('HDEL', R, 're:' .. queue)
  end
  if number > 0 then call('HSET', R, 'p:' .. queue, pending + number, 'pt:' .. queue, moment) end
  return number
end

-- answers -----------------------------------------------------------------------------------------------------------
local function in_short(granted) -- what most claims are, a step of the root, as its number; with its attempt, if that is not 1
  if granted[1] ~= '0' or granted[3] >= 0 or granted[8] then return granted end
  return granted[5] == 1 and granted[2] or { granted[2], granted[5] }
end

local function at_length(short)
  if type(short) == 'table' and #short > 2 then return short end
  local step, attempt = short, 1
  if type(short) == 'table' then step, attempt = short[1], short[2] end
  return grant(place('0'), '0', step, -1, -1, attempt, -1)
end

local function each(rows, change)
  local changed = {}
  for i, row in ipairs(rows or {}) do changed[i] = change(row) end
  return changed[1] and changed
end

local function answer(text, claims)
  local parts = { text }
  for i, granted in ipairs(claims or {}) do
    local names, values, lists = inputs(granted, INLINE / #claims)
    parts[3 * i - 1], parts[3 * i], parts[3 * i + 1] = names or false, values or false, lists or false
  end
  return parts
end

-- A call that is repeated, because its reply was lost, gets the answer that it got. A verb that works in portions is
-- called with one token; it goes on where the last answer's `more` says, and from nowhere else.
local function repeated() -- or nil, and whether it is the next portion of the last call
  local last = req.owner and call('HGET', key('t'), req.owner)
  if not last or string.sub(last, 1, #req.token + 1) ~= req.token .. ' ' then return nil end
  local text = string.sub(last, #req.token + 2)
  local head = cjson.decode(text)
  if head.more and head.more == (req.from or 0) then return nil, true end
  return answer(text, each(head.claims, at_length))
end

local retry_seconds -- until the piece that failed is tried again
local skipped_item -- that is skipped because a piece failed

local function may_take_long(want, granted) -- for all that the worker knows; what calls no function does not
  local body, step = tostring(granted[7][4]), tostring(granted[2])
  local e = entry(body, step)
  if granted[2] < 0 or e.b then return false end
  if e.x ~= '' then return not (want.ranges or {})[body .. '.' .. step] end
  return not (e.f and (want.short or {})[e.f])
end

local function hand_out(want, head) -- claim what is wanted; say what is left, and whether others shall come for it
  if is_active() or hook then head.claims = claim_next(want) end
  if broken and is_active() then timing().end_if_quiet() end
  head.left = is_left and not head.claims and not held and not want.others or nil
  head.ready = head.left and 0 or math.max(0, call('ZCARD', key('r', want.queue)) - 1)
  if want.arrived and not head.left then -- one that brought the wrong worker is as good as lost
    local under_way = tonumber(call('HGET', R, 'p:' .. want.queue) or 0)
    if under_way > 0 then call('HSET', R, 'p:' .. want.queue, under_way - 1) end
  end
  if head.ready > 0 and not held and is_active() and (want.tells or head.claims and may_take_long(want, head.claims[1])) then
    head.wake_ups = wake_ups(want.queue, want.slots)
  end
end

local function conclude(verdicts, more)
  write_together()
  if req.staged and not more then call('HDEL', key('sg'), req.staged[1]) end
  local head = { states = verdicts, more = more }
  if due and now >= due and is_active() then timing().run_due() end
  if req.want and not more then
    hand_out(req.want, head)
  elseif broken and is_active() and not more then
    timing().end_if_quiet()
  end
  if #completed > 0 then head.completed = completed end
  head.retry, head.lasted, head.skipped = retry_seconds, lasted, skipped_item
  if generation and head.claims then head.generation = tonumber(generation) end
  save_claim_counts()
  local granted = head.claims
  head.claims = each(granted, in_short) or nil
  for _, seconds in ipairs(waits) do
    if seconds ~= 0 then head.waited = waits end
  end
  local text = reply(head)[1]
  local is_new = call('HSET', key('t'), req.owner, req.token .. ' ' .. text) == 1
  if not is_active() then call('EXPIRE', key('t'), ANSWERS_LAST) elseif is_new then keep(key('t')) end
  return answer(text, granted)
end
