-- Open a scope for each claimed item of a mapped nested DAG, or for the one plan that a piece made, and drop the claim:
-- from now on the pieces are as alive as their scopes. A worker that dies before this call has opened nothing; one that
-- dies between two portions has opened some, and the worker that claims the items again skips those: a scope that exists is
-- never opened twice. A child plan and its topology were staged before, under a number of its own.
-- request: owner, token, scope, step, lo, hi, attempt, from, last (no children follow), staged, want,
--          children [{id, index, tokens, lists, blocks [[token, lo, hi, attempt]...], body and queues of a child plan}...],
--          log (with the last children).
-- ARGV 2..: for each child its values, then its blocks; last what the piece has logged, if `log` says so. Answers in
-- `more` how many children it has opened so far, if more are to come.
if not state then return reply({ states = { 'stale' } }) end
local again, is_continued = repeated()
if again then return again end
-- A server that took over may lack the portions before this one, or what was staged: it comes again from the beginning.
if lacks_staged() or req.from > 0 and not is_continued then return reply({ lost = true }) end
local scope, step = req.scope, tostring(req.step)
local piece, parent = piece_name(scope, step, req.lo), place(scope)
if not parent.body then return conclude({ 'stale' }) end -- the scope was taken back
-- Parts of the run are being cleared: a scope that opens meanwhile might be overlooked.
if not is_active() and call('HEXISTS', R, 'clearing') == 1 then return conclude({ 'stale' }) end
local claim, e = read_claim(piece), entry(parent.body, step)
if not is_owner(claim, req.attempt) then return conclude({ 'stale' }) end
if claim.cursor then -- it was skipped with its scope
  drop_claim(piece, claim, e.q)
  return conclude({ 'stale' })
end

local function add_queues(queues) -- those of a child plan, as far as the run had no step on them yet
  local all, has, more = {}, {}, false
  for i, queue in ipairs(cjson.decode(call('HGET', R, 'queues'))) do
    all[i], has[queue] = queue, true
  end
  for _, queue in ipairs(queues) do
    if not has[queue] then
      more = true
      all[#all + 1] = queue
      call('ZADD', key('r', queue), '+inf', '')
      keep(key('r', queue))
    end
  end
  if more then call('HSET', R, 'queues', cjson.encode(all)) end
end

-- What closes the scope writes in the parent, as a later attempt than any that the parent has had.
local function begin_plan(child)
  local s = key('s', child.id)
  add_queues(child.queues)
  call('HSET', s, '-2:t', math.max(req.attempt, tonumber(call('HGET', s, '-2:t') or 0)))
end

local body, written, done, new = tostring(req.children[1] and req.children[1].body or e.b), 0, 0, 0
local first, at = entry(body, '-1'), 1
local each = 4 + 4 * (first.more and 1 or #successors(body, '-1', 0))
for _, child in ipairs(req.children) do
  written = written + each + 2 * (#child.tokens + #child.blocks)
  if written > 1000 and done > 0 then break end
  local guard = e.ms and child.index >= 0 and child.id or parent.guard
  local record = { scope, step, child.index, body, parent.depth + 1, call('HINCRBY', R, 'scopes', 1), guard ~= '' and guard or nil }
  if call('HSETNX', key('sc'), child.id, table.concat(record, '/')) == 1 then
    keep(key('sc'))
    if parent.guard ~= '' then
      call('RPUSH', key('i', scope), child.id)
      keep(key('i', scope))
    end
    write_lengths(child.id, child.lists, req.attempt)
    at = write_payloads(child.id, req.attempt, child, at)
    if child.body then begin_plan(child) end
    begin_scope(child.id, body)
    new = new + 1
  else
    at = at + #child.tokens + #child.blocks
  end
  done = done + 1
end
if new > 0 then call('HINCRBY', key('n'), body .. ':scopes', new) end
note_start(parent.body, step, claim.started)
local is_range = req.lo >= 0 and req.hi > req.lo and parent.guard ~= ''
if done < #req.children or not req.last then
  if is_range and new > 0 then call('HINCRBY', key('s', scope), step .. ':j', new) end
  return conclude({ 'committed' }, req.from + done)
end
if is_range and new < req.hi - req.lo then -- an earlier portion, or an earlier worker, has opened the others
  local before = math.min(req.hi - req.lo - new, tonumber(call('HGET', key('s', scope), step .. ':j') or 0))
  if before > 0 then call('HINCRBY', key('s', scope), step .. ':j', -before) end
end
if req.lo >= 0 and req.hi == req.lo then
  items_done(scope, parent.body, step, req.lo, req.hi, req.hi - req.lo)
end
if req.log then keep_log(req, parent.body, ARGV[#ARGV]) end
drop_claim(piece, claim, e.q)
return conclude({ 'committed' })
