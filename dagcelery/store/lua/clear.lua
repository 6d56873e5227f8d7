-- Make places of a run as if they had never been executed, one portion a call: removals first, then what goes on from
-- what stays done. The run is over and stays so; while R has `clearing`, nothing commits and `resume` waits. Each call
-- has a number: one that comes again, or late, changes nothing. One process clears a run: another one leaves its places
-- to it, is told that it is `busy`, and asks again. A process that dies in between leaves `clearing`; who has not been
-- heard of for a while is taken for dead, and the next one does everything again. Therefore an act sets what is to be
-- there in the end, or counts only with what it removes.
-- request: token, number, act; begin {places [[scope, step, lo, hi]...], epoch}; widen {places}, one for each that is
--          known; finish {known}: how many places were, answers `again` if others came; claims {pieces [[piece,
--          body, rest [[lo, hi]...]]...]}; tell_on {piece}; due {members}; failures {pieces}; steps {places [[scope, body,
--          step]...]}; keys {names}; blocks {blocks [[name, field]...]}; scopes {ids} and reopen {ids}, inner ones first;
--          counters {fields}; left {scope, left}; forget_freed {steps}; and with scope, body, of a fan-out with
--          step: take {ranges [[text, rest [[lo, hi]...]]...]}; arrivals {counts [[item, count]...]}; put {ranges};
--          settle {done, is_late}; arrive {steps}; items {step, ranges}
local PATIENCE, MOST_PATIENCE = 10, 600 -- seconds; doubled whenever a process is taken for dead that may only be slow
local mark = state and call('HGET', R, 'clearing')
local more, busy_with
if not state then return reply({}) end
local is_mine = mark and string.sub(mark, 1, #req.token + 1) == req.token .. ' '
local last, at, heard, patience = string.match(call('HGET', R, 'clear_at') or '', '^(%S+) (%d+) ?(%S*) ?(%d*)$')
patience = tonumber(patience) or PATIENCE

local function places_of(text) -- a list of our own, since a decoded one may be shared
  local places = {}
  for i, place in ipairs(text and cjson.decode(string.match(text, '^%S+ (.*)$')) or {}) do places[i] = place end
  return places
end

local function with_places(added) -- those of the mark, and what is not among them
  local places, has = places_of(mark), {}
  for _, place in ipairs(places) do has[table.concat(place, '/')] = true end
  for _, place in ipairs(added) do
    local name = table.concat(place, '/')
    if not has[name] then places[#places + 1] = place end
    has[name] = true
  end
  return places
end

local acts = {}

function acts.begin()
  local places = with_places(req.places)
  if #places == 0 or is_active() or tonumber(call('HGET', R, 'epoch')) ~= req.epoch then
    mark = nil
    return
  end
  if mark and not is_mine then
    if now - (tonumber(heard) or 0) < patience then busy_with = string.match(mark, '^%S+') end
    if not busy_with then patience = math.min(MOST_PATIENCE, 2 * patience) end
  end
  revive(ready_keys())
  mark = (busy_with or req.token) .. ' ' .. cjson.encode(places)
  state = 'cancelled' -- else a client might read results that are not there any more
  call('HSET', R, 'clearing', mark, 'state', state, 'reason', 'parts of it are to be executed again: resume() sees to it')
  call('HDEL', R, 'failed')
  drop_hook()
end

function acts.widen() -- but not what others have added
  local places = places_of(mark)
  for i, place in ipairs(req.places) do places[i] = place end
  call('HSET', R, 'clearing', req.token .. ' ' .. cjson.encode(places))
end

-- removing ----------------------------------------------------------------------------------------------------------
local function push_ranges(scope, step, ranges, attempts)
  for _, range in ipairs(ranges) do push_range(scope, step, range[1], range[2], attempts) end
end

function acts.claims()
  for _, claimed in ipairs(req.pieces) do
    local scope, step, lo = parse(claimed[1])
    local claim = read_claim(claimed[1])
    if claim then
      drop_claim(claimed[1], claim, entry(claimed[2], step).q)
      if lo >= 0 then call('HINCRBY', key('s', scope), step .. ':c', lo - claim.hi) end
      push_ranges(scope, step, claimed[3], claim.attempt)
    end
  end
end

function acts.tell_on() -- for a worker that has committed, and not yet told all successors
  local scope, step = parse(req.piece)
  local claim, body = read_claim(req.piece), place(scope).body
  if not (claim and claim.cursor) then return end
  local portion = skipping().announce_rest(scope, step, claim.cursor)
  if not portion then return drop_claim(req.piece, claim, entry(body, step).q) end
  write_claim(req.piece, body, claim.hi, claim.attempt, claim.owner, claim.message, portion, claim.company)
end

function acts.due()
  for _, member in ipairs(req.members) do
    if call('ZREM', key('d'), member) == 1 then
      local scope, step = string.match(member, '^r/(%w+)/(%-?%d+)')
      call('HINCRBY', R, 'waiting', -1)
      count(place(scope).body, step, 'w', -1)
    end
  end
end

local function uncount_skipped(scope, body, step) -- one item: until it is executed again it is done, and not skipped
  call('HINCRBY', key('s', scope), step .. ':k', -1)
  count(body, step, 'k', -1)
  count(body, step, 'd', 1)
end

local function forget_failure(piece, failure)
  local u, scope, step, lo = key('u'), parse(piece)
  local body, s, attempt = place(scope).body, key('s', scope), call('ZSCORE', u, piece)
  if call('ZREM', u, piece) == 1 then
    count(body, step, 'f', -1)
    if lo >= 0 then call('HINCRBY', s, step .. ':c', -1) end
  elseif not is_skipped(scope) then -- the item was, which counts as done
    uncount_skipped(scope, body, step)
  end
  if call('HLEN', key('f')) < 1000 then call('HSET', key('f'), piece .. '@' .. (attempt or 0), failure) end
  call('HDEL', key('f'), piece)
end

function acts.failures()
  for _, piece in ipairs(req.pieces) do
    local failure = call('HGET', key('f'), piece)
    if failure then forget_failure(piece, failure) end
  end
end

local function remove_outputs(scope, step) -- how many there are is not known here; they are numbered
  local o, s, at, removed = key('o', scope), key('s', scope), 0, 0
  repeat
    local values, lengths = {}, {}
    for i = at, at + 7 do
      local token = step .. '.' .. i
      values[#values + 1], values[#values + 2] = token, token .. '#'
      lengths[#lengths + 1], lengths[#lengths + 2] = 'n:' .. token, 'a:' .. token
    end
    at, removed = at + 8, call('HDEL', o, unpack(values)) + call('HDEL', s, unpack(lengths))
  until removed == 0
end

local function cap_cached(scope, body, step) -- which of them came from the cache is not known: not more than are done
  save_counts()
  local numbers = call('HMGET', key('n'), body .. '.' .. step .. ':c', body .. '.' .. step .. ':d')
  local done = tonumber(numbers[2] or 0)
  if scope == '0' then done = done + tonumber(call('HGET', key('s', scope), step .. ':d') or 0) end
  done = math.max(0, done)
  if tonumber(numbers[1] or 0) > done then call('HSET', key('n'), body .. '.' .. step .. ':c', done) end
end

local function uncount(scope, body, step, e) -- take back what a step of one scope of several has counted
  local was = call('HMGET', key('s', scope), step, step .. ':n', step .. ':d', step .. ':k')
  local state, items, done, skipped = was[1] or '', tonumber(was[2]), tonumber(was[3] or 0), tonumber(was[4] or 0)
  if items then
    count(body, step, 'n', -items)
    count(body, step, 'o', -1)
    count(body, step, 'd', skipped - done)
    count(body, step, 'l', -skipped) -- those that were skipped on their own are not any more
  end
  if e.br and (items == 0 or state == 'k|' and not items) then
    count(body, step, 'k', -1)
  elseif state == 'k|' and (e.x == '' or not was[3]) then
    if e.x ~= '' then count(body, step, 'n', -1) end
    if e.x ~= '' and not items then count(body, step, 'o', -1) end
    count(body, step, 'l', -1)
  elseif string.sub(state, 1, 2) == 'd|' and step ~= '-1' then
    count(body, step, 'd', -1)
  end
  cap_cached(scope, body, step)
end

-- Attempts go on from where they were (`v` is where): they are what tells a late piece, and what it stages, from others.
local function raise_floor(s, step, e, least)
  local was = call('HMGET', s, step .. ':t', step .. ':v', step .. ':c')
  local attempts = math.max(tonumber(was[1] or 0), least or 0)
  if e.x ~= '' then attempts = math.max(attempts, tonumber(was[2] or was[3] and 1 or 0)) end
  if attempts > 0 then call('HSET', s, step .. ':v', attempts) end
end

local function reset(scope, body, step)
  local s, e, member = key('s', scope), entry(body, step), scope .. '/' .. step
  if scope ~= '0' then uncount(scope, body, step, e) end -- numbers of the root scope's steps go as a whole
  raise_floor(s, step, e)
  call('HDEL', s, step, step .. ':a', step .. ':n', step .. ':d', step .. ':c', step .. ':g', step .. ':l', step .. ':k', step .. ':j', step .. ':r')
  remove_outputs(scope, step)
  call('UNLINK', key('q', scope, step), key('a', scope, step))
  call('ZREM', key('r', e.q), member)
  call('ZREM', key('d'), 'w/' .. member)
  if call('ZREM', key('d'), 'p/' .. member) == 1 then call('HINCRBY', R, 'waiting', -1) end
end

function acts.steps()
  for _, at in ipairs(req.places) do reset(at[1], tostring(at[2]), tostring(at[3])) end
end

function acts.keys()
  for _, name in ipairs(req.names) do
    call('UNLINK', R .. ':' .. name)
    call('SREM', key('k'), name)
  end
end

function acts.blocks()
  for _, block in ipairs(req.blocks) do
    local name = R .. ':' .. block[1]
    local size = call('HSTRLEN', name, block[2])
    local staged = size > 0 and size < 1000 and call('HGET', name, block[2]) or ''
    if string.sub(staged, 1, 1) == '@' then
      call('UNLINK', R .. ':' .. string.sub(staged, 2))
      call('SREM', key('k'), string.sub(staged, 2))
    end
    call('HDEL', name, block[2])
  end
end

function acts.scopes()
  for _, scope in ipairs(req.ids) do
    local p, s = place(scope), key('s', scope)
    if p.body then
      local around, outer = key('s', p.parent), place(p.parent).body
      local ends = { call('HDEL', s, 'closed'), call('HDEL', s, 'skipped') }
      if ends[2] == 1 then call('HINCRBY', key('n'), p.body .. ':skipped', -1) end
      if ends[1] + ends[2] == 0 then
        if call('HEXISTS', around, p.step .. ':c') == 1 then call('HINCRBY', around, p.step .. ':c', -1) end
      end
      if ends[2] == 1 and call('HEXISTS', around, p.step .. ':k') == 1 then uncount_skipped(p.parent, outer, p.step) end
      call('LREM', key('i', p.parent), 1, scope)
      if p.index >= 0 then raise_floor(around, p.step, entry(outer, p.step), tonumber(call('HGET', s, '-2:t') or 0)) end
      call('HDEL', s, 'left')
      call('HINCRBY', key('n'), p.body .. ':scopes', -1)
      call('HDEL', key('sc'), scope)
    end
  end
end

function acts.reopen() -- what a scope is the result of is not done, and runs again
  for _, scope in ipairs(req.ids) do
    local p = place(scope)
    local outer = place(p.parent).body
    call('HDEL', key('s', scope), 'closed')
    if p.index < 0 then
      if call('HDEL', key('s', p.parent), p.step) == 1 and p.parent ~= '0' then count(outer, p.step, 'd', -1) end
      remove_outputs(p.parent, p.step)
      cap_cached(p.parent, outer, p.step)
    end
  end
end

function acts.counters() call('HDEL', key('n'), unpack(req.fields)) end

-- going on ----------------------------------------------------------------------------------------------------------
function acts.take() -- items out of the ranges that may be claimed
  for _, taken in ipairs(req.ranges) do
    if call('LREM', key('q', req.scope, req.step), 1, taken[1]) == 1 then
      push_ranges(req.scope, req.step, taken[2], string.match(taken[1], '^%d+:%d+:(%d+)'))
    end
  end
end

function acts.arrivals()
  local a = key('a', req.scope, req.step)
  for _, arrived in ipairs(req.counts) do
    if arrived[2] > 0 then call('HSET', a, arrived[1], arrived[2]) else call('HDEL', a, arrived[1]) end
  end
  if call('EXISTS', a) == 1 then keep(a) end
end

function acts.put() push_ranges(req.scope, req.step, req.ranges, 0) end

function acts.settle() -- a fan-out of which some items go on, and others stay
  local body, step, s = tostring(req.body), tostring(req.step), key('s', req.scope)
  local e, by = entry(body, step), req.done - tonumber(call('HGET', s, step .. ':d') or 0)
  if req.is_late then raise_floor(s, step, e) end
  if by ~= 0 then
    call('HINCRBY', s, step .. ':d', by)
    call('HINCRBY', s, step .. ':c', by)
    if req.scope ~= '0' then count(body, step, 'd', by) end
    cap_cached(req.scope, body, step)
  end
  if call('EXISTS', key('q', req.scope, step)) == 1 then
    make_ready(req.scope, step, e.q)
  else
    call('ZREM', key('r', e.q), req.scope .. '/' .. step)
  end
end

function acts.left() call('HSET', key('s', req.scope), 'left', req.left) end

function acts.arrive()
  for _, step in ipairs(req.steps) do arrive(req.scope, tostring(req.body), tostring(step)) end
end

function acts.items()
  for _, range in ipairs(req.ranges) do arrive_items(req.scope, tostring(req.body), tostring(req.step), range[1], range[2]) end
end

function acts.forget_freed() -- last: until then a process that begins anew has to find what else is to be made
  for _, step in ipairs(req.steps) do call('HDEL', key('s', '0'), step .. ':x') end
end

function acts.finish()
  if #places_of(mark) > req.known then return end
  mark, patience = nil, PATIENCE
  call('HDEL', R, 'clearing')
  call('HINCRBY', R, 'generation', 1)
end

local is_done = last == req.token and tonumber(at) >= req.number
if not is_done then
  if req.act ~= 'begin' and not is_mine then return reply({ overtaken = true }) end
  acts[req.act]()
  if busy_with then return reply({ busy = true }) end
  if mark or req.act == 'finish' then
    call('HSET', R, 'clear_at', table.concat({ req.token, req.number, moment, patience }, ' '))
  end
end
if req.act == 'tell_on' then more = call('HEXISTS', key('c'), req.piece) == 1 end
save_claim_counts()
return reply({
  more = more,
  again = req.act == 'finish' and is_mine and mark ~= nil or nil,
  places = req.act == 'begin' and mark and places_of(mark) or nil,
})
