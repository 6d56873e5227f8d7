-- Comes behind the prelude and the claims where an item may be skipped, or where successors are told that were told in part.
--
-- An item that has opened a scope is skipped with it, and with all scopes below: nothing in them is claimed, tried again or
-- counted any more, but as skipped, and what is being executed there is finished for nothing. That is done in portions,
-- with a cursor in the claim of the piece that failed, so that a sweep goes on where a worker died. Until the last one the
-- steps around do not learn of it.
-- All this is made when it is asked for: most calls need none of it, and each function that Lua makes takes time.
local skipping_verbs
local function skipping()
  if skipping_verbs then return skipping_verbs end
  local STEPS = 80 -- that one script skips: each costs up to eight fields, and a scope's own about twenty

  local function skip_ready(scope, step, e)
    local member = scope .. '/' .. step
    call('ZREM', key('r', e.q), member)
    call('ZREM', key('d'), 'w/' .. member)
    if call('ZREM', key('d'), 'p/' .. member) == 1 then call('HINCRBY', R, 'waiting', -1) end
  end

  local function count_skipped_items(scope, body, step, items)
    count(body, step, 'l', items)
    call('HINCRBY', key('s', scope), step .. ':d', items)
    call('HINCRBY', key('s', scope), step .. ':k', items)
  end

  local function skip_once(scope, body, step)
    local s = key('s', scope)
    local fields = call('HMGET', s, step, step .. ':t')
    if fields[1] then return end
    call('HSET', s, step, 'k|')
    count(body, step, 'l', 1)
    local retry = table.concat({ 'r', scope, step, -1, -1, fields[2] or 0 }, '/')
    if call('ZREM', key('d'), retry) == 1 then timing().forget_retry(body, step) end
  end

  local function skip_items(scope, body, step, e)
    local s = key('s', scope)
    local fields = call('HMGET', s, step, step .. ':n', step .. ':c', step .. ':d', step .. ':j')
    local items, claimed = tonumber(fields[2] or 0), tonumber(fields[3] or 0)
    if fields[1] then return end
    -- Of what was opened in part, the scopes count themselves, and so did the claim, or so does what is not claimed.
    local uncounted = items - claimed - tonumber(fields[5] or 0)
    if uncounted ~= 0 then count_skipped_items(scope, body, step, uncounted) end
    if items == 0 and not fields[4] then -- not known, or none: it counts as one
      count(body, step, 'n', e.br and 0 or 1)
      if not fields[2] then count(body, step, 'o', 1) end
      if not e.br then count(body, step, 'l', 1) end
      if e.br and not fields[2] then count(body, step, 'k', 1) end
    end
    if claimed == 0 and (items > 0 or not fields[4]) then call('HSET', s, step, 'k|') end
    call('UNLINK', key('q', scope, step), key('a', scope, step))
  end

  local function skip_step(scope, body, step)
    local e = entry(body, step)
    skip_ready(scope, step, e)
    if e.x == '' then skip_once(scope, body, step) else skip_items(scope, body, step, e) end
  end

  local function skip_claimed(piece, claim) -- what is being executed in a scope that is skipped
    local scope, step, lo = parse(piece)
    local body = place(scope).body
    if not claim.cursor and tonumber(step) >= 0 then
      if lo < 0 then
        skip_once(scope, body, step)
      elseif claim.hi > lo then
        count_skipped_items(scope, body, step, claim.hi - lo)
      else
        skip_items(scope, body, step, entry(body, step))
      end
    end
    local record = { claim.hi, claim.attempt, claim.owner, claim.message, claim.started, SKIPPED, body, claim.company }
    call('HSET', key('c'), piece, table.concat(record, '|'))
  end

  local function scope_told(piece, cursor) -- whose steps a claim is about: the piece's own scope, or that of steps that it tells
    local scope, step = parse(piece)
    if not cursor then return scope end
    local at = string.match(cursor, '@(.*)$')
    if at then return (parse(at)) end
    return step == '-2' and place(scope).parent or scope
  end

  local function skip_claims(but)
    for _, piece in ipairs(call('HKEYS', key('c'))) do
      local claim = piece ~= '' and piece ~= but and read_claim(piece)
      local is_settled = not claim or claim.cursor == SKIPPED or string.sub(claim.cursor or '', 1, 1) == 's'
      if not is_settled and is_skipped(scope_told(piece, claim.cursor)) then skip_claimed(piece, claim) end
    end
  end

  local function enter(scope) -- is it one below that is to be skipped with the item?
    local s, p = key('s', scope), place(scope)
    local fields = call('HMGET', s, 'closed', 'skipped')
    if fields[1] or fields[2] or not p.body then return false end -- or it was cleared
    call('HSET', s, 'skipped', 1)
    call('HINCRBY', key('n'), p.body .. ':skipped', 1)
    if p.index >= 0 then count_skipped_items(p.parent, place(p.parent).body, p.step, 1) end
    return true
  end

  local function skip_rest(todo, scope, body, budget) -- its ends, its retries, and the scopes in it; what is left of the budget
    for _, step in ipairs({ '-1', '-2' }) do skip_ready(scope, step, entry(body, step)) end
    repeat
      local retry = call('LPOP', key('l', scope))
      if retry and call('ZREM', key('d'), retry) == 1 then timing().forget_retry(body, string.match(retry, '^r/%w+/(%d+)/')) end
      local inner = call('LPOP', key('i', scope))
      if inner then call('RPUSH', todo, inner .. '/0') end
      budget = budget - 1
    until budget <= 0 or not (retry or inner)
    return budget
  end

  local function skip_portion(top) -- is there more?
    local todo, budget = key('m', top), STEPS
    while budget > 0 do
      local head = call('LINDEX', todo, 0)
      if not head then return false end
      local scope, from = parse(head)
      local at, body = tonumber(from), place(scope).body
      if scope ~= top and at == 0 and not enter(scope) then
        call('LPOP', todo)
        budget = budget - 1
      else
        local upto = math.max(at, math.min(entry(body, '-1').c, at + budget))
        for step = at, upto - 1 do skip_step(scope, body, tostring(step)) end
        budget = budget - (upto - at) - 2
        if budget > 0 then budget = skip_rest(todo, scope, body, budget) end
        if budget > 0 then call('LPOP', todo) else call('LSET', todo, 0, scope .. '/' .. math.max(1, upto)) end
      end
    end
    return true
  end

  local function skip_on(top) -- nil, or the cursor to go on at
    if skip_portion(top) then return 's@' .. top end
    local p = place(top)
    if is_skipped(p.parent) then return nil end
    local items = tonumber(call('HGET', key('s', p.parent), p.step .. ':n'))
    local from = items_done(p.parent, place(p.parent).body, p.step, p.index, p.index + 1, items, 1)
    return from and from .. '@' .. p.parent .. '/' .. p.step
  end

  local function skip_scope(top, attempt, piece) -- begin to skip an item with its scope, because a piece failed in there
    local p, s = place(top), key('s', top)
    skips = '1'
    call('HSET', R, 'skips', skips)
    -- Who reopens it writes its outputs as a later attempt than its markers are.
    call('HSET', s, 'skipped', 1, '-2:t', math.max(attempt, tonumber(call('HGET', s, '-2:t') or 0)))
    local outer = place(p.parent).body
    call('HINCRBY', key('n'), p.body .. ':skipped', 1)
    count(outer, p.step, 'k', 1)
    call('HINCRBY', key('s', p.parent), p.step .. ':k', 1)
    call('RPUSH', key('m', top), top .. '/0')
    keep(key('m', top))
    skip_claims(piece)
    return skip_on(top)
  end

  local function announce_rest(scope, step, cursor) -- go on where a claim's cursor says
    local from, at = string.match(cursor, '^([^@]*)@?(.*)$')
    if from == SKIPPED then return nil end
    if from == 's' then return skip_on(at) end
    local home, number = scope, step
    if at ~= '' then
      home, number = parse(at)
    elseif step == '-2' then
      home, number = place(scope).parent, place(scope).step
    end
    if is_skipped(home) then return nil end
    local portion = announce(home, place(home).body, number, tonumber(from))
    return portion and at ~= '' and portion .. '@' .. at or portion
  end
  skipping_verbs = { announce_rest = announce_rest, skip_scope = skip_scope }
  return skipping_verbs
end
