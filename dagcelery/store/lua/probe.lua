-- Name the commands that this user may not send, of those that scripts and adapters need: a script that came upon one of
-- them would be half done. Runs without a prelude: KEYS[1] belongs to no run, and what is written there is gone at the
-- end. Other errors do not matter, such as those of a wrong type or of a full server: who may send a command gets them.
local key, call, denied = KEYS[1], redis.call, {}

local function try(command)
  local words = {}
  for word in string.gmatch(command, '%S+') do words[#words + 1] = string.gsub(word, '@', key) end
  local answer = redis.pcall(unpack(words))
  local why = type(answer) == 'table' and answer.err or ''
  -- A Redis says the first, from 7.2 on and as a Valkey the second.
  if string.find(why, "can't run this command", 1, true) or string.find(why, 'no permissions', 1, true) then
    denied[#denied + 1] = string.lower(words[1])
  end
end

try('UNLINK @ @:2')
if #denied > 0 then return denied end
call('UNLINK', key) -- a server that takes no writes says so here

for command in string.gmatch([[
TIME; EXISTS @; EXPIRE @ 60; PEXPIRE @ 60000; PTTL @; COPY @ @:2; RENAME @ @:2; GET @; MGET @; SET @ 0 EX 60; UNLINK @;
HSET @ 0 0; HSETNX @ 0 0; HINCRBY @ 0 1; HGET @ 0; HMGET @ 0; HGETALL @; HKEYS @; HVALS @; HLEN @; HSTRLEN @ 0;
HEXISTS @ 0; HSCAN @ 0; HDEL @ 0; SADD @ 0; SREM @ 0; SSCAN @ 0;
RPUSH @ 0; LPUSH @ 0; LINDEX @ 0; LRANGE @ 0 0; LSET @ 0 0; LREM @ 1 0; LPOP @;
ZADD @ 0 0; ZCARD @; ZSCORE @ 0; ZRANGE @ 0 0; ZRANGEBYSCORE @ 0 0; ZSCAN @ 0; ZREM @ 0; ZREMRANGEBYRANK @ 0 0;
XADD @ * 0 0; XLEN @; XRANGE @ - +; XREVRANGE @ + -; XREAD COUNT 1 STREAMS @ 0;
]], '[^;]+') do
  if string.find(command, '%S') then try(command) end
end
call('UNLINK', key, key .. ':2')
return denied
