-- Make steps of the root scope as if they had never been executed, one portion a call: removals first, then arrivals
-- from what stays done. The run is over and stays so; while R has `clearing`, nothing commits and `resume` waits. Each
-- call has a number: one that comes again, or late, changes nothing. A process that dies in between leaves `clearing`,
-- and the next one does everything again, as it would the first time, and overtakes one that has not died.
-- request: token, number, act; begin {steps, epoch}; claims {pieces [[piece, body]...]}; tell_on {piece}; due {members};
--          failures {pieces}; steps {places [[scope, body, step]...]}; keys {names}; counters {fields}; scopes {ids};
--          arrive {steps}; items {step, lo, hi}; finish
local mark = state and call('HGET', R, 'clearing')
local more
if not state then return reply({}) end

local function steps_of(text) -- a list of our own, since a decoded one may be shared
  local steps = {}
  for i, step in ipairs(text and cjson.decode(string.match(text, '^%S+ (.*)$')) or {}) do steps[i] = step end
  return steps
end

local acts = {}

function acts.begin()
  local steps = steps_of(mark)
  for _, step in ipairs(req.steps) do steps[#steps + 1] = step end
  if #steps == 0 or is_active() or tonumber(call('HGET', R, 'epoch')) ~= req.epoch then return end
  mark = req.token .. ' ' .. cjson.encode(steps)
  state = 'cancelled' -- else a client might read results that are not there any more
  call('HSET', R, 'clearing', mark, 'state', state, 'reason', 'parts of it are to be executed again: resume() sees to it')
  call('HDEL', R, 'failed', 'hook')
  if hook then call('ZREM', key('r', hook), '0/-3') end
end

function acts.claims()
  for _, claimed in ipairs(req.pieces) do
    local _, step = parse(claimed[1])
    if read_claim(claimed[1]) then drop_claim(claimed[1], entry(claimed[2], step).q) end
  end
end

function acts.tell_on() -- for a worker that has committed, and not yet told all successors
  local scope, step = parse(req.piece)
  local claim, body = read_claim(req.piece), place(scope).body
  if not (claim and claim.cursor) then return end
  local portion = announce_rest(scope, step, claim.cursor)
  if not portion then return drop_claim(req.piece, entry(body, step).q) end
  write_claim(req.piece, body, claim.hi, claim.attempt, claim.owner, claim.message, portion)
end

function acts.due()
  for _, member in ipairs(req.members) do
    if call('ZREM', key('d'), member) == 1 then call('HINCRBY', R, 'waiting', -1) end
  end
end

function acts.failures()
  local f, u = key('f'), key('u')
  for _, piece in ipairs(req.pieces) do
    local attempt, failure = call('ZSCORE', u, piece), call('HGET', f, piece)
    call('ZREM', u, piece)
    if failure and call('HLEN', f) < 1000 then call('HSET', f, piece .. '@' .. (attempt or 0), failure) end
    call('HDEL', f, piece)
  end
end

local function is_complete(s, step, e)
  if e.x == '' then return string.sub(call('HGET', s, step) or '', 1, 2) == 'd|' end
  local items, done = unpack(call('HMGET', s, step .. ':n', step .. ':d'))
  return items and done and tonumber(done) >= tonumber(items)
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

-- Attempts go on from where they were (`v` is where): they are what tells a late piece, and what it stages, from others.
local function reset(scope, body, step)
  local s, e, member = key('s', scope), entry(body, step), scope .. '/' .. step
  if scope == '0' and is_complete(s, step, e) then call('HINCRBY', s, 'left', 1) end
  local before = call('HMGET', s, step .. ':t', step .. ':v', step .. ':c')
  local attempts = tonumber(before[1] or 0)
  if e.x ~= '' then attempts = math.max(attempts, tonumber(before[2] or 0) + (before[3] and 1 or 0)) end
  if attempts > 0 then call('HSET', s, step .. ':v', attempts) end
  call('HDEL', s, step, step .. ':a', step .. ':n', step .. ':d', step .. ':c', step .. ':g', step .. ':l', step .. ':k', step .. ':x')
  if step == '-2' then call('HDEL', s, 'closed', 'left', 'skipped') end
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

function acts.counters() call('HDEL', key('n'), unpack(req.fields)) end

function acts.scopes() call('HDEL', key('sc'), unpack(req.ids)) end

function acts.arrive()
  for _, step in ipairs(req.steps) do arrive('0', '0', tostring(step)) end
end

function acts.items() arrive_items('0', '0', tostring(req.step), req.lo, req.hi) end

function acts.finish()
  call('HDEL', R, 'clearing')
  call('HINCRBY', R, 'generation', 1)
end

local is_mine = mark and string.sub(mark, 1, #req.token + 1) == req.token .. ' '
local last, at = string.match(call('HGET', R, 'clear_at') or '', '^(%S+) (%d+)$')
local is_done = last == req.token and tonumber(at) >= req.number
if not is_done then
  if req.act ~= 'begin' and not is_mine then return reply({ overtaken = true }) end
  acts[req.act]()
  call('HSET', R, 'clear_at', req.token .. ' ' .. req.number)
end
if req.act == 'tell_on' then more = call('HEXISTS', key('c'), req.piece) == 1 end
save_claim_counts()
return reply({ more = more, steps = req.act == 'begin' and mark and steps_of(mark) or nil })
