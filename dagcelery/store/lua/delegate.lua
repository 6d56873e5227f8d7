-- Open a scope for each claimed item of a mapped nested DAG, and drop the claim: from now on the items are as alive as
-- their scopes. A worker that dies before this call has opened nothing; one that dies between two portions has opened
-- some, and whoever claims the items again skips those: a scope that exists is never opened twice.
-- request: owner, token, scope, step, lo, hi, attempt, from, last (no children follow), want,
--          children [{id, index, tokens, lists, blocks [[token, lo, hi, attempt]...]}...].
-- ARGV 2..: for each child its values, then its blocks. Answers in `more` how many children it has opened so far, if
-- more are to come.
if not state then return gone('stale') end
local again = repeated()
if again then return again end
local scope, step = req.scope, tostring(req.step)
local piece, parent = piece_name(scope, step, req.lo), place(scope)
if not parent.body then return conclude('stale') end -- the scope was taken back
local claim, e = read_claim(piece), entry(parent.body, step)
if not claim or claim.attempt ~= req.attempt or claim.owner ~= req.owner then return conclude('stale') end

local at = 1
local function next_bytes()
  at = at + 1
  return ARGV[at]
end

local function store_inputs(child)
  local s, o = key('s', child.id), key('o', child.id)
  for _, token in ipairs(child.tokens) do call('HSET', o, token, next_bytes()) end
  if #child.tokens > 0 then keep(o) end
  for token, items in pairs(child.lists) do call('HSET', s, 'n:' .. token, items, 'a:' .. token, req.attempt) end
  for _, block in ipairs(child.blocks) do
    local name = key('b', child.id, block[1] .. '@' .. req.attempt .. ':' .. math.floor(block[2] / 256))
    call('HSET', name, block[2] .. ':' .. block[3] .. ':' .. block[4], next_bytes())
    keep(name)
  end
end

local body, written, done, new = tostring(e.b), 0, 0, 0
local first = entry(body, '-1')
local each = 4 + 4 * (first.more and 1 or #successors(body, '-1', 0))
for _, child in ipairs(req.children) do
  written = written + each + 2 * (#child.tokens + #child.blocks)
  if written > 1000 and done > 0 then break end
  local record = table.concat({ scope, step, child.index, body, parent.depth + 1, call('HINCRBY', R, 'scopes', 1) }, '/')
  if call('HSETNX', key('sc'), child.id, record) == 1 then
    keep(key('sc'))
    store_inputs(child)
    begin(child.id, body)
    new = new + 1
  else
    at = at + #child.tokens + #child.blocks
  end
  done = done + 1
end
if new > 0 then
  call('HINCRBY', key('n'), body .. ':scopes', new)
  count(parent.body, step, 'r', new)
end
if done < #req.children or not req.last then return conclude('committed', req.from + done) end
if req.hi == req.lo then items_done(scope, parent.body, step, req.lo, req.hi, req.hi - req.lo) end
drop_claim(piece, e.q)
return conclude('committed')
