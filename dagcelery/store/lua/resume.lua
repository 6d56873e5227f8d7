-- Open a new epoch of a run that failed, was cancelled or timed out: what failed is ready again, with a fresh budget of
-- tries, and everything else is as it was. In portions of 100; claims are refused until the last one. A process that dies
-- between two portions leaves a run that is over and can be resumed again.
-- request: token (of this very call: repeated, it gets the same answer), deadline (seconds, or null: as before, 0: none),
--          epoch (that the run has to be in, or null)
if state and call('HGET', R, 'resumed') == req.token then return reply({ resumed = true }) end
if not state or state == 'done' or is_active() then return reply({}) end
if req.epoch and req.epoch ~= cjson.null and tonumber(call('HGET', R, 'epoch')) ~= req.epoch then return reply({}) end
if call('HEXISTS', R, 'clearing') == 1 then return reply({ clearing = true }) end

local function retry_failed(piece, attempts)
  local scope, step, lo = parse(piece)
  local body, s = place(scope).body, key('s', scope)
  local e = entry(body, step)
  if lo >= 0 then
    local items = tonumber(call('HGET', s, step .. ':n'))
    push_range(scope, step, lo, items > 0 and lo + 1 or lo, attempts)
    call('HINCRBY', s, step .. ':c', items > 0 and -1 or 0)
  end
  make_ready(scope, step, e.q)
  count(body, step, 'f', -1)
  local failure = call('HGET', key('f'), piece)
  if failure and call('HLEN', key('f')) < 1000 then call('HSET', key('f'), piece .. '@' .. attempts, failure) end
  call('HDEL', key('f'), piece)
end

local u = key('u')
local failed = call('ZRANGE', u, 0, 99, 'WITHSCORES')
for i = 1, #failed, 2 do
  retry_failed(failed[i], failed[i + 1])
  call('ZREM', u, failed[i])
end
if call('EXISTS', u) == 1 then return reply({ more = true }) end

local function note_pause() -- a run takes no time while it is over
  local pauses, number = call('HGET', R, 'pauses') or '', 0
  pauses = pauses .. (call('HGET', R, 'ended') or moment) .. ':' .. moment .. ' '
  for _ in string.gmatch(pauses, '%S+') do number = number + 1 end
  if number > 100 then pauses = string.match(pauses, ' (.*)$') end
  call('HSET', R, 'pauses', pauses)
end

local function clear_end()
  call('UNLINK', key('w'), key('y'), key('z'), key('no'))
  call('HDEL', R, 'failed', 'reason', 'ended', 'broken', 'poisoned', 'refused', 'deadline', 'span')
  if held == 'key' then call('HDEL', R, 'held') end -- its submitter went away; to resume it is to let it start
  drop_hook()
  call('HDEL', key('s', '0'), '-3:l')
  local called = read_claim('0/-3')
  if called then drop_claim('0/-3', called, hook) end -- of the last end: the next has its own
  for _, queue in ipairs(cjson.decode(call('HGET', R, 'queues'))) do call('HDEL', R, 'h:' .. queue, 'hw:' .. queue, 're:' .. queue) end
end

local span = req.deadline ~= cjson.null and req.deadline or tonumber(call('HGET', R, 'span') or 0)
note_pause()
clear_end()
if span > 0 then call('HSET', R, 'deadline', string.format('%.6f', now + span), 'span', span) end
revive(ready_keys())
state = 'running'
call('HSET', R, 'state', state, 'resumed', req.token, 'since', moment)
call('HSETNX', R, 'started', moment)
call('HINCRBY', R, 'epoch', 1)
save_claim_counts()
log('resumed', '', '0', -1, 0, moment, 0)
if call('HGET', key('s', '0'), 'left') == '0' then end_run('done') end -- the last live pieces finished after its end
return reply({ resumed = true })
