-- Comes in front of every verb. KEYS[1] is the run's key; all other names are spelled by key(), below it, so that they
-- share its hash tag. ARGV[1] is the request as JSON; ARGV[2..] are bytes that the request refers to by position.
--
-- below the run's key                          | what it holds
-- (itself)            hash                     | record: state, name, times, ttl; c:<queue> claims; p:, pt:, pc:<queue> wake_ups under way; h:, hw:<queue> sweeps;
--                                              | refused: no is in use; re:<queue> of refused messages: the first ready step, how many there were, when the last was; due: when d must be looked at; waiting: retries in d; broken: failures that others outlive; poisoned: z is in use; skips: scopes were skipped;
--                                              | clearing: "token [places]" of the process that clears them; clear_at: "token number when patience", the call it is at, and for how many seconds it is not taken for dead; generation: how often parts of it were cleared
--                                              | pauses: "from:to from:to..." between an end and the next epoch, the newest 100;
--                                              | bodies: how many there are; held: not admitted yet; since: when it was admitted or resumed; awaited: when a sweep last found that something will happen by itself; hooks, hook: the queue of what is called at the end, and that it still is to be; untold: how many ends from the first one on passed without that
-- g:<body>            hash                     | topology: step -> entry; <step>:<k> portion k of many successors, <step>:i inputs; of a plan's
--                                              | first body also the sealed plan in chunks, plan:<k>, and of a child plan's `of`: "scope/chunks"
-- s:<scope>           hash                     | left; closed; skipped; <step> state, "k|" if it was skipped with its scope; <step>:t attempts :a arrivals :n items :d done :c claimed :g gate :j items opened of claims that were not opened whole :l lost by, of items when :r since when it is ready :k skipped :v attempts before it was cleared :x freed; n:<token>, a:<token> of lists
-- o:<scope>           hash                     | whole values by token; in that of the root also what g:0 would hold: a small run costs few keys
-- b:<scope>:<token>@<attempt>:<cell>   hash    | blocks of a list: "lo:hi:attempt" -> bytes (attempt 0 in the key: results of a fan-out)
-- x:<scope>:<token>@<attempt>[:<lo>]   hash    | chunks of a large value, or of a large block
-- q:<scope>:<step>    list                     | ranges of items that may be claimed: "lo:hi:attempts@since", of lost ones "lo:hi:attempts:owner"
-- a:<scope>:<step>    hash                     | arrivals by item, where an item waits for more than one fan-out
-- i, l, m:<scope>     lists                    | in an item that may be skipped: scopes opened right in it, its retries in d; scopes that are being skipped with it
-- r:<queue>           zset                     | ready steps "scope/step": deeper scopes first, then older scopes, then by index
-- c                   hash                     | outstanding claims: piece -> "hi|attempt|owner|message|started|cursor|body", of one that has company "|f" or "|m": see claims
-- t                   hash                     | the last call of each owner and its answer, so that a repeated call gets it again
-- n                   hash                     | counters "<body>.<step>:<n|o|d|f|k|l|c|w|b|e>", o of scopes within that opened it, l skipped with their scope, c of the done ones from the cache, "<body>:scopes", "<body>:skipped";
--                                              | of the root's steps not what is in s:0, which a reader counts: nothing of one that runs once and is done, and d is only by how much less are done than s:0 says, since so many were skipped
-- sg                  hash                     | how many portions were staged for a call, by its token
-- f, sc, k            hash, hash, set          | failures by piece, of attempts that were repeated by piece@attempt; scopes; the names of keys that not every run has
-- u, d                zsets                    | pieces that have finally failed, by attempt; what is due when: "r/scope/step/lo/hi/attempts" retries, "w/scope/step" late starts, "p/scope/step" blocked
-- lg                  hash                     | what pieces have logged: see logs
-- no                  hash                     | refusals: "worker body.step", of the whole run "worker " -> "when|queue|why"
-- y, z                hashes                   | troubles: <piece>:x failed tries, <piece>:d owners that died, '' if it was awaited beside others when one did; poisoned pieces and why
-- e, w                streams                  | events of pieces; the run's end, for those that wait for it: some seconds, since they ask for the state first
-- r:, c and n have an entry '' (last in r:): what is never empty keeps its TTL. A run that is done has no more use for c, t
-- and r:, nor for n if nothing is counted there: see `settle`; who takes it up again calls `revive`.
local R, req, call = KEYS[1], cjson.decode(ARGV[1]), redis.call
local clock = call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local moment = string.format('%.6f', now)

local function key(kind, a, b)
  if b then return R .. ':' .. kind .. ':' .. a .. ':' .. b end
  if a then return R .. ':' .. kind .. ':' .. a end
  return R .. ':' .. kind
end

local run = call('HMGET', R, 'state', 'ttl', 'due', 'broken', 'poisoned', 'held', 'hook', 'generation', 'refused', 'skips', 'since')
local state, ttl, due = run[1], tonumber(run[2] or req.ttl or 604800), tonumber(run[3])
local broken, poisoned, held, hook, generation, refused, skips = run[4], run[5], run[6], run[7], run[8], run[9], run[10]
local since = tonumber(run[11] or 0)

-- A full server refuses the first write of a script if it takes room, and none after one that does not. So what makes
-- room begins with a removal, and is never refused; what takes room begins with a write that does, and waits.
local function begin_with_removal() call('HDEL', R, '') end

local function is_active() return state == 'running' or state == 'pending' end

local function topology_key(body) return body == '0' and key('o', '0') or key('g', body) end

-- What every run has is in no registry: besides these the ready sets, which the record names.
local EVERY = { c = true, t = true, n = true, e = true, w = true, ['s:0'] = true, ['o:0'] = true }

local function keep(name) -- called after a write: a key that is new, or was emptied and made again, gets its TTL
  if call('PTTL', name) < 0 then
    call('EXPIRE', name, ttl)
    local below, registry = string.sub(name, #R + 2), key('k')
    if EVERY[below] or string.sub(below, 1, 2) == 'r:' then return end
    if call('SADD', registry, below) == 1 and call('PTTL', registry) < 0 then
      call('EXPIRE', registry, ttl)
    end
  end
end

local function lacks_staged(number) -- another server may have taken over, which has not got all that was staged for this call
  return req.staged and tonumber(call('HGET', key('sg'), req.staged[1]) or 0) < (number or req.staged[2])
end

local ANSWERS_LAST = 60 -- seconds that t is kept when a run is over: who repeats a call does so within moments

local function ready_keys() -- the ready sets of all queues
  local names = {}
  for i, queue in ipairs(cjson.decode(call('HGET', R, 'queues') or '[]')) do names[i] = key('r', queue) end
  return names
end

local function revive(ready) -- make what a run needs that goes on, and is not there any more, or not yet
  for _, kind in ipairs({ 'c', 'n' }) do
    call('HSET', key(kind), '', '')
    call('EXPIRE', key(kind), ttl)
  end
  call('EXPIRE', key('t'), ttl)
  for _, name in ipairs(ready) do
    call('ZADD', name, '+inf', '')
    call('EXPIRE', name, ttl)
  end
end

local function parse(name) -- of a piece or a step; `lo` is -1 if it runs once
  local scope, step, lo = string.match(name, '^(%w+)/(%-?%d+)/?(%d*)')
  return scope, step, tonumber(lo) or -1
end

-- What the status counts is added up, and written with the answer: once a script and place, however much it is about.
local counted, begun, over = {}, {}, {}
local function count(body, step, what, by)
  local field = body .. '.' .. step .. ':' .. what
  counted[field] = (counted[field] or 0) + by
end

local function note_start(body, step, at) -- when a piece ends, or opens scopes: what was given back unrun has not begun
  local field = body .. '.' .. step .. ':b'
  begun[field] = math.min(tonumber(at), begun[field] or math.huge)
end

local function note_end(body, step) over[body .. '.' .. step .. ':e'] = moment end

local function save_counts()
  local n = key('n')
  for field, by in pairs(counted) do call('HINCRBY', n, field, by) end
  for field, at in pairs(begun) do
    local first = tonumber(call('HGET', n, field))
    if not first or at < first then call('HSET', n, field, string.format('%.6f', at)) end
  end
  for field, at in pairs(over) do call('HSET', n, field, at) end
  counted, begun, over = {}, {}, {}
end

-- scopes ------------------------------------------------------------------------------------------------------------
-- `guard` is the nearest scope, it or one around it, of an item that may be skipped; '' if there is none.
local places = { ['0'] = { parent = '', step = '0', index = 0, body = '0', depth = 0, seq = 0, guard = '' } }
local function place(scope)
  local p = places[scope]
  if not p then
    local parent, step, index, body, depth, seq, guard =
      string.match(call('HGET', key('sc'), scope) or '', '^(%w+)/(%d+)/(%-?%d+)/(%d+)/(%d+)/(%d+)/?(%w*)$')
    p = { parent = parent, step = step, index = tonumber(index), body = body, depth = tonumber(depth), seq = tonumber(seq), guard = guard or '' }
    places[scope] = p
  end
  return p
end

local function is_skipped(scope) -- was it, or one around it, skipped?
  local guard = skips and place(scope).guard or ''
  while guard ~= '' do
    if call('HEXISTS', key('s', guard), 'skipped') == 1 then return true end
    guard = place(place(guard).parent).guard
  end
  return false
end

local entries = {} -- by body and step
local function entry(body, step)
  local known = entries[body]
  if not known then
    known = {}
    entries[body] = known
  end
  local e = known[step]
  if not e then
    e = step == '-3' and { q = hook or call('HGET', R, 'hooks') } or cjson.decode(call('HGET', topology_key(body), step))
    known[step] = e
  end
  return e
end

local function read_entries(body, steps) -- of some steps that this call will need, at once
  local known = entries[body] or {}
  entries[body] = known
  local missing = {}
  for _, step in ipairs(steps) do
    if not known[step] then missing[#missing + 1] = step end
  end
  for i, text in ipairs(missing[1] and call('HMGET', topology_key(body), unpack(missing)) or {}) do
    known[missing[i]] = text and cjson.decode(text)
  end
end

local function successors(body, step, from) -- portion `from` of them; a few are in the entry itself
  local e = entry(body, step)
  return from == 0 and e.s or cjson.decode(call('HGET', topology_key(body), step .. ':' .. from))
end

local function write_lengths(scope, lists, attempt)
  for token, items in pairs(lists) do call('HSET', key('s', scope), 'n:' .. token, items, 'a:' .. token, attempt) end
end

local function resolve(scope, token) -- '^' at the front of a token: one scope up
  while string.byte(token) == 94 do
    scope, token = place(scope).parent, string.sub(token, 2)
  end
  return scope, token
end

local function list_keys(scope, token) -- where the blocks of a list are: the scope, and what the cell's number follows
  local origin, plain = resolve(scope, token)
  return origin, plain .. '@' .. (call('HGET', key('s', origin), 'a:' .. plain) or '0') .. ':'
end

-- what is written together -----------------------------------------------------------------------------------------------
-- A commit of several pieces writes each key once, where nothing reads it in between; other verbs write at once.
local together -- nil, or { fields, kept, ready, left, claims }: see `write_together`
local function gather() together = { fields = {}, kept = {}, ready = {}, left = {}, claims = {} } end

local function set(name, field, value)
  if not together then return call('HSET', name, field, value) end
  local fields = together.fields[name] or {}
  together.fields[name], fields[#fields + 1], fields[#fields + 2] = fields, field, value
end

local function keep_when_written(name)
  if together then together.kept[name] = true else keep(name) end
end

-- readiness ---------------------------------------------------------------------------------------------------------
local opened = {} -- steps that this call has made ready: scope, body, step, queue, items
local completed = {} -- fan-outs whose last items this call has done: scope, body, step, items, skipped
local lasted -- seconds that a run took which this call has ended

local function rank(scope, step)
  local p = place(scope)
  return tonumber(step) + p.seq * 1048576 - p.depth * 4398046511104
end

-- Since when a step is ready is written of those that this call leaves so: what it also claims has not waited.
local readied = {} -- by scope and step
local function note_ready(scope, step, at)
  local steps = readied[scope] or {}
  readied[scope], steps[step] = steps, at or moment
end

local function save_ready()
  for scope, steps in pairs(readied) do
    local fields = {}
    for step, at in pairs(steps) do fields[#fields + 1], fields[#fields + 2] = step .. ':r', at end
    for from = 1, #fields, 400 do call('HSET', key('s', scope), unpack(fields, from, math.min(from + 399, #fields))) end
  end
  readied = {}
end

local function is_fan_out(scope, step) return (entry(place(scope).body, step).x or '') ~= '' end

local function make_ready(scope, step, queue, at)
  if string.byte(step) ~= 45 and not is_fan_out(scope, step) then note_ready(scope, step, at) end -- of items their ranges tell
  return call('ZADD', key('r', queue), rank(scope, step), scope .. '/' .. step)
end

local function report_ready(scope, body, step, queue, items)
  opened[#opened + 1] = { scope, tonumber(body), tonumber(step), queue, items or -1 }
end

local function make_ready_and_report(scope, body, step, queue, at)
  make_ready(scope, step, queue, at)
  report_ready(scope, body, step, queue)
end

local function compact_events() -- a short stream takes 4 KB until it is copied; a long one would take too long
  local e, copy = key('e'), key('e', 'copy')
  if call('XLEN', e) <= 100 and call('COPY', e, copy) == 1 then call('RENAME', copy, e) end
end

-- Let what every run has live for `span` seconds from now on, and let a run that is done, of which nothing is ready or
-- claimed any more, go without what it needs no more. Answers whether that is all: no registry, no reservation.
local function settle(span)
  local names = ready_keys()
  if state == 'done' and not hook and call('HLEN', key('c')) < 2 then
    call('UNLINK', key('c'), unpack(names))
    if call('HLEN', key('n')) < 2 then call('UNLINK', key('n')) end
    compact_events()
    names = {}
  end
  for _, kind in ipairs({ 'n', 'e', 's:0', 'o:0', 'c' }) do names[#names + 1] = key(kind) end
  for _, name in ipairs(names) do call('EXPIRE', name, span) end
  call('EXPIRE', key('t'), is_active() and span or math.min(ANSWERS_LAST, span))
  if call('EXISTS', key('k')) == 1 then return false end
  call('EXPIRE', R, span)
  return call('HEXISTS', R, 'reservation') == 0
end

local function reply(fields) -- what a verb of a run answers: a header as JSON
  save_counts()
  save_ready()
  if lasted and req.want and req.want.keep then fields.settled = settle(req.want.keep) or nil end
  fields.run = state or 'gone'
  if #opened > 0 then fields.opened = opened end
  return { cjson.encode(fields) }
end

local function range_text(lo, hi, attempts, owner, at) -- what was lost has the text that its owner may ask for
  return lo .. ':' .. hi .. ':' .. attempts .. (owner and ':' .. owner or '@' .. (at or moment))
end

local function push_range(scope, step, lo, hi, attempts, owner, at)
  local q = key('q', scope, step)
  if call('RPUSH', q, range_text(lo, hi, attempts, owner, at)) == 1 then keep(q) end
end

local function schedule(member, at) -- something is to be looked at when it is due
  call('ZADD', key('d'), at, member)
  keep(key('d'))
  if not due or at < due then
    due = at
    call('HSET', R, 'due', string.format('%.6f', at))
  end
end

local function open_step(scope, body, step, e)
  local items, s = -1, key('s', scope)
  if e.x ~= '' then
    local origin, token = resolve(scope, e.x)
    items = tonumber(call('HGET', key('s', origin), 'n:' .. token))
    call('HSET', s, step .. ':n', items, step .. ':g', 1)
    count(body, step, 'n', items)
    if scope ~= '0' then count(body, step, 'o', 1) end -- so that a reader knows when `n` is that of all scopes
    if e.br and items == 0 then count(body, step, 'k', 1) end
    if e.e == 0 then push_range(scope, step, 0, items, 0) end
  end
  if e.e == 0 or call('EXISTS', key('q', scope, step)) == 1 then make_ready(scope, step, e.q) end
  if e.sw then schedule('w/' .. scope .. '/' .. step, now + e.sw) end
  report_ready(scope, body, step, e.q, items)
end

local function open_plain(scope, body, step, queue) -- one that runs once, and has no time to start within
  if not together then return make_ready_and_report(scope, body, step, queue) end
  local steps = together.ready[queue] or {}
  together.ready[queue] = steps
  steps[#steps + 1] = { scope = scope, body = body, step = step }
end

local function arrive(scope, body, step)
  local e = entry(body, step)
  if e.n <= 1 or call('HINCRBY', key('s', scope), step .. ':a', 1) == e.n then open_step(scope, body, step, e) end
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
    open_step(scope, body, step, e)
  elseif gate and call('EXISTS', key('q', scope, step)) == 1 and make_ready(scope, step, e.q) == 1 then
    report_ready(scope, body, step, e.q) -- again: the workers that came for the first items may be gone
  end
end

-- ends --------------------------------------------------------------------------------------------------------------
local teller -- the process that calls, without the thread
local function log(kind, piece, body, hi, attempt, started, seconds)
  teller = teller or req.owner and string.match(req.owner, '^[^:]*:?[^:]*') or ''
  local event = string.format('%s|%s|%s|%d|%d|%.6f|%.9g|%s', kind, piece, body, hi, attempt, started, seconds, teller)
  call('XADD', key('e'), 'MAXLEN', '~', 10000, '*', 'v', event) -- one field: each more takes time with each piece
end

local function end_run(final, reason)
  state = final
  call('HSET', R, 'state', final, 'ended', moment, 'reason', reason or '')
  local begun = call('HMGET', R, 'started', 'created', 'pauses')
  local first = tonumber(begun[1] or begun[2] or now)
  lasted = now - first
  for from, to in string.gmatch(begun[3] or '', '(%S+):(%S+)') do
    lasted = lasted - math.max(0, tonumber(to) - math.max(first, tonumber(from)))
  end
  call('XADD', key('w'), '*', 'state', final)
  call('EXPIRE', key('w'), 10)
  log(final, '', '0', -1, 0, moment, 0)
  hook = call('HGET', R, 'hooks')
  if hook then
    call('HSET', R, 'hook', hook)
    make_ready_and_report('0', '0', '-3', hook)
  end
end

local function drop_hook() -- an end is taken back, and what was to be called at it is not
  if not hook then return end
  call('ZREM', key('r', hook), '0/-3')
  call('HDEL', R, 'hook')
  local told = call('HMGET', R, 'epoch', 'untold')
  if tonumber(told[2] or 0) == tonumber(told[1]) - 1 then call('HSET', R, 'untold', told[1]) end
end

local function complete_scope(scope, body) -- all steps of a scope are done
  if scope == '0' then
    if is_active() then end_run('done') end
    return
  end
  make_ready_and_report(scope, body, '-2', entry(body, '-2').q)
end

local function steps_done(scope, body, number)
  if call('HINCRBY', key('s', scope), 'left', -number) == 0 then complete_scope(scope, body) end
end

local function step_done(scope, body)
  if not together then return steps_done(scope, body, 1) end
  together.left[scope] = (together.left[scope] or 0) + 1
end

-- Tell portion `from` of a step's successors; answers the number of the next portion, nil after the last one. Of a few the
-- step's own entry says how many steps a successor waits for, if that is all there is to know: most arrivals read no other.
local function announce(scope, body, step, from)
  local e, s = entry(body, step), key('s', scope)
  local needs = from == 0 and e.w
  for i, successor in ipairs(successors(body, step, from)) do
    local name, need = tostring(successor), needs and needs[i] or 0
    if need == 0 then
      arrive(scope, body, name)
    elseif need == 1 or call('HINCRBY', s, name .. ':a', 1) == need then
      open_plain(scope, body, name, e.q)
    end
  end
  return from < (e.more or 0) and from + 1 or nil
end

local function let_in(queue, steps) -- a step that was claimed meanwhile is not there any more
  local added, is_wanted = {}, req.want and req.want.queue == queue -- who claims there sees what is ready
  for _, each in ipairs(steps) do
    if each.step then
      added[#added + 1] = rank(each.scope, each.step)
      added[#added + 1] = each.scope .. '/' .. each.step
      note_ready(each.scope, each.step)
      if not is_wanted then report_ready(each.scope, each.body, each.step, queue) end
    end
  end
  for from = 1, #added, 400 do call('ZADD', key('r', queue), unpack(added, from, math.min(from + 399, #added))) end
end

local function write_together() -- before anything reads it
  local all = together
  if not all then return end
  together = nil
  for name, fields in pairs(all.fields) do
    for from = 1, #fields, 400 do call('HSET', name, unpack(fields, from, math.min(from + 399, #fields))) end
    if all.kept[name] then keep(name) end
  end
  if all.claims[1] then call('HDEL', key('c'), unpack(all.claims)) end
  for queue, steps in pairs(all.ready) do let_in(queue, steps) end
  for scope, number in pairs(all.left) do steps_done(scope, place(scope).body, number) end
end

local function begin_scope(scope, body) -- a scope is there with its inputs: its first steps may start
  local start, s = entry(body, '-1'), key('s', scope)
  call('HSET', s, 'left', start.c)
  keep(s)
  if start.c == 0 then
    complete_scope(scope, body)
  elseif start.more then
    make_ready_and_report(scope, body, '-1', start.q)
  else
    announce(scope, body, '-1', 0)
  end
end

local function items_done(scope, body, step, lo, hi, items, skipped) -- nil, or the portion of successors to announce next
  local s = key('s', scope)
  if scope ~= '0' then count(body, step, 'd', hi - lo - (skipped or 0)) elseif skipped then count(body, step, 'd', -skipped) end
  for _, successor in ipairs(entry(body, step).se or {}) do arrive_items(scope, body, tostring(successor), lo, hi) end
  local is_complete = call('HINCRBY', s, step .. ':d', hi - lo) >= items
  if is_complete or broken then note_end(body, step) end -- with failures among them nobody says which was the last one
  if not is_complete then return nil end
  completed[#completed + 1] = { scope, tonumber(body), tonumber(step), items, tonumber(call('HGET', s, step .. ':k') or 0) }
  step_done(scope, body)
  return announce(scope, body, step, 0)
end

