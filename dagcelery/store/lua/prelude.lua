-- Stands in front of every verb. KEYS[1] is the run's key; all other names are spelled by key(), below it, so that they
-- share its hash tag. ARGV[1] is the request as JSON; ARGV[2..] are bytes that the request refers to by position.
--
-- below the run's key                          | what it holds
-- (itself)            hash                     | record: state, name, digest, times, ttl; c:<queue> claims; p:, pt:, pc:<queue> hints under way; h:, hw:<queue> sweeps
-- plan                hash                     | chunks of the sealed plan
-- g:<body>            hash                     | topology: step -> entry; <step>:<k> portion k of many successors, <step>:i inputs
-- s:<scope>           hash                     | left; <step> state; <step>:t attempts :a arrivals :n items :d done :c claimed :g gate :l lost by; n:<token>, a:<token> of lists
-- o:<scope>           hash                     | whole values by token
-- b:<scope>:<token>@<attempt>:<cell>   hash    | blocks of a list: "lo:hi:attempt" -> bytes (attempt 0 in the key: results of a fan-out)
-- x:<scope>:<token>@<attempt>[:<lo>]   hash    | chunks of a large value, or of a large block
-- q:<scope>:<step>    list                     | ranges of items that may be claimed: "lo:hi:attempts", of lost ones ":owner"
-- a:<scope>:<step>    hash                     | arrivals by item, where an item waits for more than one fan-out
-- r:<queue>           zset                     | ready steps "scope/step": deeper scopes first, then older scopes, then by index
-- c                   hash                     | outstanding claims: piece -> "hi|attempt|owner|message|started|cursor|body"
-- t                   hash                     | the last call of each owner and its answer, so that a repeated call gets it again
-- n                   hash                     | counters "<body>.<step>:<n|r|d|f|b|e>", "<body>:scopes"
-- f, sc, k            hash, hash, set          | failures by piece; scopes; the names of all keys
-- e, w                streams                  | events of pieces; the run's end
-- r:, c, t and n have an entry '' (last in r:), and so have o: of the root: what is never empty keeps its TTL.
local R, req, call = KEYS[1], cjson.decode(ARGV[1]), redis.call
local clock = call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local moment = string.format('%.6f', now)

local function key(kind, a, b)
  if b then return R .. ':' .. kind .. ':' .. a .. ':' .. b end
  if a then return R .. ':' .. kind .. ':' .. a end
  return R .. ':' .. kind
end

local run = call('HMGET', R, 'state', 'ttl', 'digest')
local state, ttl, digest = run[1], tonumber(run[2] or req.ttl or 604800), run[3]

local function keep(name) -- called after a write: a key that is new, or was emptied and made again, gets its TTL
  if call('PTTL', name) < 0 then
    call('EXPIRE', name, ttl)
    local registry = key('k')
    if call('SADD', registry, string.sub(name, #R + 2)) == 1 and call('PTTL', registry) < 0 then
      call('EXPIRE', registry, ttl)
    end
  end
end

local function count(body, step, what, by) call('HINCRBY', key('n'), body .. '.' .. step .. ':' .. what, by) end

-- scopes ------------------------------------------------------------------------------------------------------------
local places = { ['0'] = { parent = '', step = '0', index = 0, body = '0', depth = 0, seq = 0 } }
local function place(scope)
  local p = places[scope]
  if not p then
    local parent, step, index, body, depth, seq =
      string.match(call('HGET', key('sc'), scope) or '', '^(%w+)/(%d+)/(%d+)/(%d+)/(%d+)/(%d+)$')
    p = { parent = parent, step = step, index = tonumber(index), body = body, depth = tonumber(depth), seq = tonumber(seq) }
    places[scope] = p
  end
  return p
end

local entries = {}
local function entry(body, step)
  local name = body .. '.' .. step
  local e = entries[name]
  if not e then
    e = cjson.decode(call('HGET', key('g', body), step))
    entries[name] = e
  end
  return e
end

local function successors(body, step, from) -- portion `from` of them; a few stand in the entry itself
  local e = entry(body, step)
  return from == 0 and e.s or cjson.decode(call('HGET', key('g', body), step .. ':' .. from))
end

local function resolve(scope, token) -- '^' at the front of a token: one scope up
  while string.byte(token) == 94 do
    scope, token = place(scope).parent, string.sub(token, 2)
  end
  return scope, token
end

-- readiness ---------------------------------------------------------------------------------------------------------
local opened = {}

local function make_ready(scope, step, queue)
  local p = place(scope)
  return call('ZADD', key('r', queue), tonumber(step) + p.seq * 1048576 - p.depth * 4398046511104, scope .. '/' .. step)
end

local function range_text(lo, hi, attempts, owner)
  return lo .. ':' .. hi .. ':' .. attempts .. (owner and ':' .. owner or '')
end

local function push_range(scope, step, lo, hi, attempts, owner)
  local q = key('q', scope, step)
  if call('RPUSH', q, range_text(lo, hi, attempts, owner)) == 1 then keep(q) end
end

local function open(scope, body, step, e)
  local items, s = -1, key('s', scope)
  if e.x ~= '' then
    local origin, token = resolve(scope, e.x)
    items = tonumber(call('HGET', key('s', origin), 'n:' .. token))
    call('HSET', s, step .. ':n', items, step .. ':g', 1)
    count(body, step, 'n', items)
    if e.e == 0 then push_range(scope, step, 0, items, 0) end
  end
  if e.e == 0 or call('EXISTS', key('q', scope, step)) == 1 then make_ready(scope, step, e.q) end
  opened[#opened + 1] = { scope, tonumber(body), tonumber(step), e.q, items }
end

local function arrive(scope, body, step)
  local e = entry(body, step)
  if e.n <= 1 or call('HINCRBY', key('s', scope), step .. ':a', 1) == e.n then open(scope, body, step, e) end
end

local function count_item_arrivals(scope, step, need, lo, hi)
  local a, from = key('a', scope, step), nil
  local function arrived(field) return call('HINCRBY', a, field, 1) == need and call('HDEL', a, field) == 1 end
  if lo == hi and arrived('empty') then push_range(scope, step, lo, hi, 0) end
  for i = lo, hi - 1 do
    if arrived(i) then
      from = from or i
    elseif from then
      push_range(scope, step, from, i, 0)
      from = nil
    end
  end
  if from then push_range(scope, step, from, hi, 0) end
  if call('EXISTS', a) == 1 then keep(a) end
end

local function arrive_items(scope, body, step, lo, hi)
  local e = entry(body, step)
  if e.e == 1 then push_range(scope, step, lo, hi, 0) else count_item_arrivals(scope, step, e.e, lo, hi) end
  local gate = call('HGET', key('s', scope), step .. ':g')
  if not gate and e.n == 0 then
    open(scope, body, step, e)
  elseif gate and call('EXISTS', key('q', scope, step)) == 1 and make_ready(scope, step, e.q) == 1 then
    -- Those who came for the first items have done them and gone: they are told again.
    opened[#opened + 1] = { scope, tonumber(body), tonumber(step), e.q, -1 }
  end
end

-- ends --------------------------------------------------------------------------------------------------------------
local function log(kind, piece, body, hi, attempt, started, seconds)
  call('XADD', key('e'), 'MAXLEN', '~', 10000, '*', 'k', kind, 'p', piece, 'b', body, 'h', hi, 'a', attempt, 's', started, 'd', seconds)
end

local function end_run(final, reason)
  state = final
  call('HSET', R, 'state', final, 'ended', moment, 'reason', reason or '')
  call('XADD', key('w'), '*', 'state', final)
  keep(key('w'))
  log(final, '', '0', -1, 0, moment, 0)
end

local function complete(scope, body) -- all steps of a scope are done
  if scope == '0' then
    if state == 'running' or state == 'pending' then end_run('done') end
    return
  end
  local e = entry(body, '-2')
  make_ready(scope, '-2', e.q)
  opened[#opened + 1] = { scope, tonumber(body), -2, e.q, -1 }
end

local function step_left(scope, body)
  if call('HINCRBY', key('s', scope), 'left', -1) == 0 then complete(scope, body) end
end

-- Tell portion `from` of a step's successors; answers the number of the next portion, nil after the last one.
local function announce(scope, body, step, from)
  for _, successor in ipairs(successors(body, step, from)) do arrive(scope, body, tostring(successor)) end
  return from < (entry(body, step).more or 0) and from + 1 or nil
end

local function begin(scope, body) -- a scope is there with its inputs: its first steps may start
  local start, s = entry(body, '-1'), key('s', scope)
  call('HSET', s, 'left', start.c)
  keep(s)
  if start.c == 0 then
    complete(scope, body)
  elseif start.more then
    make_ready(scope, '-1', start.q)
    opened[#opened + 1] = { scope, tonumber(body), -1, start.q, -1 }
  else
    announce(scope, body, '-1', 0)
  end
end

local function items_done(scope, body, step, lo, hi, items) -- nil, or the portion of successors to announce next
  local s = key('s', scope)
  count(body, step, 'd', hi - lo)
  for _, successor in ipairs(entry(body, step).se or {}) do arrive_items(scope, body, tostring(successor), lo, hi) end
  if call('HINCRBY', s, step .. ':d', hi - lo) < items then return nil end
  step_left(scope, body)
  return announce(scope, body, step, 0)
end

local function announce_on(scope, step, from) -- go on telling the successors of a committed piece
  local p = place(scope)
  if step ~= '-2' then return announce(scope, p.body, step, from) end
  return announce(p.parent, place(p.parent).body, p.step, from)
end

-- claims ------------------------------------------------------------------------------------------------------------
local function piece_name(scope, step, lo)
  return lo >= 0 and (scope .. '/' .. step .. '/' .. lo) or (scope .. '/' .. step)
end

local function read_claim(piece)
  local text = call('HGET', key('c'), piece)
  if not text then return nil end
  local hi, attempt, owner, message, started, cursor = string.match(text, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|([^|]*)|')
  return { hi = tonumber(hi), attempt = tonumber(attempt), owner = owner, message = message, started = started, cursor = tonumber(cursor) }
end

local function write_claim(piece, body, hi, attempt, owner, message, cursor)
  local record = { hi, attempt, owner, message, moment, cursor or '', body }
  call('HSET', key('c'), piece, table.concat(record, '|'))
end

local busy = {} -- by queue, how many claims more there are than before this call
local function count_claim(queue, by) busy[queue] = (busy[queue] or 0) + by end
local function settle()
  for queue, by in pairs(busy) do
    if by ~= 0 then call('HINCRBY', R, 'c:' .. queue, by) end
  end
end

local function drop_claim(piece, queue)
  call('HDEL', key('c'), piece)
  count_claim(queue, -1)
end

local function take_range(scope, body, step, want)
  local q, s = key('q', scope, step), key('s', scope)
  local lo, hi, attempts = string.match(call('LINDEX', q, 0), '^(%d+):(%d+):(%d+)')
  lo, hi = tonumber(lo), tonumber(hi)
  local known = call('HMGET', s, step .. ':n', step .. ':c')
  local items, claimed = tonumber(known[1]), tonumber(known[2] or 0)
  local size = (want.ranges or {})[body .. '.' .. step] or 1
  local most = math.floor(512 / math.max(1, 2 * #(entry(body, step).se or {}))) -- each item may tell each of them
  size = math.max(1, math.min(size, math.ceil((items - claimed) / (2 * want.slots)), most))
  if hi - lo > size then
    call('LSET', q, 0, (lo + size) .. ':' .. hi .. ':' .. attempts)
    hi = lo + size
  else
    call('LPOP', q)
    if call('EXISTS', q) == 0 then call('ZREM', key('r', want.queue), scope .. '/' .. step) end
  end
  call('HINCRBY', s, step .. ':c', hi - lo)
  return lo, hi, tonumber(attempts) + 1, items
end

local function pick(want)
  local r = key('r', want.queue)
  if want.focus and call('ZSCORE', r, want.focus) then return want.focus end
  local first = not want.only and call('ZRANGE', r, 0, 0)[1]
  return first and first ~= '' and first or nil
end

local function grant(want)
  local member = pick(want)
  if not member then return nil end
  if state == 'pending' then
    state = 'running'
    call('HSET', R, 'state', state, 'started', moment)
  end
  local scope, step = string.match(member, '^(%w+)/(%-?%d+)$')
  local p, s = place(scope), key('s', scope)
  local e, lo, hi, attempt, items = entry(p.body, step), -1, -1, nil, -1
  if e.x and e.x ~= '' then
    lo, hi, attempt, items = take_range(scope, p.body, step, want)
  else
    call('ZREM', key('r', want.queue), member)
    attempt = call('HINCRBY', s, step .. ':t', 1)
  end
  write_claim(piece_name(scope, step, lo), p.body, hi, attempt, want.owner, want.message)
  count_claim(want.queue, 1)
  if lo >= 0 or scope ~= '0' then call('HSETNX', key('n'), p.body .. '.' .. step .. ':b', moment) end -- else when it ends
  return { scope, tonumber(step), lo, hi, attempt, items, { p.parent, tonumber(p.step), p.index, tonumber(p.body), p.depth } }
end

-- inputs ------------------------------------------------------------------------------------------------------------
local INLINE, STAGED = 65536, 64 -- '@' begins what stands in chunks elsewhere

local function blocks_of(scope, token, lo, hi, limit) -- pairs of field and bytes, and their size; false if too large
  local origin, plain = resolve(scope, token)
  local base = plain .. '@' .. (call('HGET', key('s', origin), 'a:' .. plain) or '0')
  local found, size = {}, 0
  for cell = math.floor(lo / 256), math.floor((hi - 1) / 256) do
    local name = key('b', origin, base .. ':' .. cell)
    for _, field in ipairs(call('HKEYS', name)) do
      local from, to = string.match(field, '^(%d+):(%d+):')
      if tonumber(from) < hi and tonumber(to) > lo then
        size = size + call('HSTRLEN', name, field)
        if size > limit then return false, 0 end
        found[#found + 1] = field
        found[#found + 1] = call('HGET', name, field)
        if string.byte(found[#found]) == STAGED then return false, 0 end
      end
    end
  end
  return found, size
end

local function value_of(scope, token, limit, few) -- bytes and their size; false if there are none, or more than `limit`
  local origin, plain = resolve(scope, token)
  local o = key('o', origin)
  if not few and call('HSTRLEN', o, plain) > limit then return false, 0 end
  local bytes = call('HGET', o, plain)
  if not bytes or #bytes > limit or string.byte(bytes) == STAGED then return false, 0 end
  return bytes, #bytes
end

local function inputs(g) -- what travels along with a grant: token names, small whole values, small blocks; false: read it apart
  local body, step = tostring(g[7][4]), tostring(g[2])
  local text, left, size = entry(body, step).i, INLINE, 0
  if not text then return nil end
  if text == 1 then text = call('HGET', key('g', body), step .. ':i') end
  local tokens, values, lists = cjson.decode(text), {}, {}
  for i, token in ipairs(tokens[1]) do
    values[i], size = value_of(g[1], token, left, #tokens[1] <= 4)
    left = left - size
  end
  for i, token in ipairs(g[4] > g[3] and tokens[2] or {}) do
    lists[i], size = blocks_of(g[1], token, g[3], g[4], left)
    left = left - size
  end
  return text, values, lists
end

-- answers -----------------------------------------------------------------------------------------------------------
local function answer(text, granted)
  if not granted then return { text } end
  local names, values, lists = inputs(granted)
  return { text, names, values, lists }
end

-- A call that is repeated, because its reply was lost, gets the answer that it got. A verb that works in portions is
-- called with one token; it goes on where the last answer's `more` says, and from nowhere else.
local function repeated()
  local last = req.owner and call('HGET', key('t'), req.owner)
  if not last or string.sub(last, 1, #req.token + 1) ~= req.token .. ' ' then return nil end
  local text = string.sub(last, #req.token + 2)
  local reply = cjson.decode(text)
  if reply.more and reply.more == (req.from or 0) then return nil end
  return answer(text, reply.grant)
end

local function conclude(verdict, more)
  local reply = { state = verdict, opened = #opened > 0 and opened or nil, more = more, digest = digest }
  local want = req.want
  if want and not more then
    if state == 'running' or state == 'pending' then reply.grant = grant(want) end
    reply.ready = math.max(0, call('ZCARD', key('r', want.queue)) - 1)
    if want.arrived then
      local hints = tonumber(call('HGET', R, 'p:' .. want.queue) or 0)
      if hints > 0 then call('HSET', R, 'p:' .. want.queue, hints - 1) end
    end
  end
  reply.run = state
  settle()
  local text = cjson.encode(reply)
  call('HSET', key('t'), req.owner, req.token .. ' ' .. text)
  return answer(text, reply.grant)
end

local function gone(verdict) return { cjson.encode({ state = verdict, run = 'gone' }) } end
