-- The host of the scripts without a server: Redis' commands on tables, in the language of the scripts, so that
-- no command leaves it. Not a script itself: it is loaded once a process, and told for each call on which database.
-- A database is a table from a key to { kind, ex = when it expires in milliseconds, ... }: a string is { s }, a hash or
-- set { h by field, n fields }, a list, zset or stream { a from `first` to `last` }; a zset has its scores in z.
-- A command takes texts and numbers, as `redis.call` does, and answers as Redis does; an empty key is gone. What no
-- script and no adapter uses is not here, and says so. Much is written out twice for speed: each node costs 60 commands.
local parse = ... -- a JSON text as a table: the caller has a fast parser
local type, tostring, error, ipairs, pairs = type, tostring, error, ipairs, pairs
local floor, max, min, huge, concat, sort = math.floor, math.max, math.min, math.huge, table.concat, table.sort
local byte, find, format, gsub, match = string.byte, string.find, string.format, string.gsub, string.match
local db, now -- the database and the time (milliseconds) of this call

local function text(value) return type(value) == 'number' and format('%.17g', value) or value end -- as Redis does
local function number(value)
  local parsed = value == '+inf' and huge or value == '-inf' and -huge or tonumber(value)
  return parsed or error('ERR value is not a number: ' .. tostring(value), 0)
end

-- JSON, as lua-cjson has it -------------------------------------------------------------------------------------------
local null = setmetatable({}, { __tostring = function() return 'null' end })
local escapes = { ['"'] = '\\"', ['\\'] = '\\\\', ['/'] = '\\/', ['\b'] = '\\b', ['\f'] = '\\f', ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t' }
local function escape(c) return escapes[c] or format('\\u%04x', byte(c)) end

local encode
local function spell(value) -- numbers are spelled by `concat`, as cjson would
  local kind = type(value)
  if kind == 'number' then return value end
  if kind == 'string' then
    if find(value, '[%c"\\/\127]') then value = gsub(value, '[%c"\\/\127]', escape) end
    return '"' .. value .. '"'
  end
  return kind == 'table' and value ~= null and encode(value) or tostring(value)
end
function encode(value)
  local parts, size = {}, #value
  if size > 0 then
    for i = 1, size do parts[i] = spell(value[i]) end
    return '[' .. concat(parts, ',') .. ']'
  end
  for name, each in pairs(value) do
    size = size + 1
    parts[size] = spell(tostring(name)) .. ':' .. spell(each)
  end
  return '{' .. concat(parts, ',') .. '}'
end

local cached, size = {}, 0 -- small texts decoded lately: those of topologies come often. No script may change what it decodes
local function decode(source)
  if type(source) == 'table' then return source end -- a request, which comes as one: see unfold
  local result = cached[source]
  if result == nil then
    result = parse(source)
    if #source > 4096 then return result end
    if size >= 4096 then cached, size = {}, 0 end
    cached[source], size = result, size + 1
  end
  return result
end

-- keys ----------------------------------------------------------------------------------------------------------------
local none = { h = {}, n = 0, a = {}, z = {}, first = 1, last = 0 }

local function read(name, kind) -- the key, or an empty one; of any kind, if none is given
  local o = db[name]
  if not o then return none end
  if o.ex and o.ex <= now then
    db[name] = nil
    return none
  end
  if kind and o.kind ~= kind then error('WRONGTYPE Operation against a key holding the wrong kind of value', 0) end
  return o
end
local function write(name, kind) -- the key, which is made if it is not there
  local o = read(name, kind)
  if o ~= none then return o end
  o = { kind = kind, h = {}, n = 0 }
  if kind == 'list' or kind == 'zset' or kind == 'stream' then o = { kind = kind, a = {}, z = {}, first = 1, last = 0 } end
  db[name] = o
  return o
end
local function tidy(name, o)
  if o ~= none and (o.n or o.last - o.first + 1) == 0 then db[name] = nil end
end

local C = setmetatable({}, { __index = function(_, name) error('the host has no command ' .. tostring(name), 0) end })
function C.TIME() return { format('%.0f', floor(now / 1000)), format('%.0f', floor(now % 1000 * 1000)) } end
function C.EXISTS(name) return read(name) ~= none and 1 or 0 end
function C.PTTL(name)
  local o = read(name)
  return o == none and -2 or o.ex and floor(o.ex - now + 0.5) or -1
end
function C.PEXPIRE(name, time)
  local o = read(name)
  if o == none then return 0 end
  o.ex = now + number(time)
  return 1
end
function C.EXPIRE(name, seconds) return C.PEXPIRE(name, number(seconds) * 1000) end
function C.UNLINK(...)
  local result = 0
  for _, name in ipairs({ ... }) do
    result, db[name] = result + C.EXISTS(name), nil
  end
  return result
end
local function copied(value, deep)
  if type(value) ~= 'table' then return value end
  local copy = {}
  for name, each in pairs(value) do copy[name] = deep and copied(each) or each end
  return copy
end
function C.COPY(name, other)
  if name == other then error('ERR source and destination objects are the same', 0) end
  if read(name) == none or read(other) ~= none then return 0 end
  db[other] = copied(read(name), true)
  return 1
end
function C.RENAME(name, other)
  if read(name) == none then error('ERR no such key', 0) end
  db[other], db[name] = db[name], nil
  return { ok = 'OK' }
end
function C.GET(name) return read(name, 'string').s or false end
function C.MGET(...)
  local result = { ... }
  for i, name in ipairs(result) do result[i] = read(name).s or false end
  return result
end
function C.SET(name, value, unit, time)
  db[name] = { kind = 'string', s = text(value), ex = unit and now + number(time) * (unit == 'EX' and 1000 or 1) }
  return { ok = 'OK' }
end

-- hashes and sets -----------------------------------------------------------------------------------------------------
local function set(o, field, value, ...)
  local h, added = o.h, 0
  if type(field) == 'number' then field = format('%.17g', field) end
  if h[field] == nil then
    o.n, added = o.n + 1, 1
  end
  h[field] = type(value) == 'number' and format('%.17g', value) or value
  if ... then return added + set(o, ...) end
  return added
end
local function discard(name, o, ...)
  local before = o.n
  for _, field in ipairs({ ... }) do
    field = text(field)
    if o.h[field] ~= nil then
      o.h[field], o.n = nil, o.n - 1
    end
  end
  tidy(name, o)
  return before - o.n
end
local function fields(o)
  local result = {}
  for field in pairs(o.h) do result[#result + 1] = field end
  sort(result)
  return result
end
function C.HSET(name, ...) return set(write(name, 'hash'), ...) end
function C.HSETNX(name, field, value)
  local o = write(name, 'hash')
  return o.h[text(field)] == nil and set(o, field, value) or 0
end
function C.HINCRBY(name, field, by)
  if type(field) == 'number' then field = text(field) end
  local value = number(read(name, 'hash').h[field] or 0) + number(by)
  set(write(name, 'hash'), field, value)
  return value
end
function C.HGET(name, field)
  if type(field) == 'number' then field = text(field) end
  return read(name, 'hash').h[field] or false
end
function C.HMGET(name, ...)
  local h, result = read(name, 'hash').h, { ... }
  for i = 1, #result do result[i] = h[text(result[i])] or false end
  return result
end
function C.HSTRLEN(name, field) return #(read(name, 'hash').h[text(field)] or '') end
function C.HEXISTS(name, field) return read(name, 'hash').h[text(field)] and 1 or 0 end
function C.HLEN(name) return read(name, 'hash').n end
function C.HDEL(name, ...) return discard(name, read(name, 'hash'), ...) end
function C.HKEYS(name) return fields(read(name, 'hash')) end
function C.HGETALL(name)
  local result = {}
  for field, value in pairs(read(name, 'hash').h) do
    result[#result + 1], result[#result + 2] = field, value
  end
  return result
end
function C.SADD(name, member) return set(write(name, 'set'), member, true) end
function C.SREM(name, ...) return discard(name, read(name, 'set'), ...) end
function C.SMEMBERS(name) return fields(read(name, 'set')) end

-- what has an order: a window on an array, which grows and shrinks at both ends ---------------------------------------
local function put(o, place, value)
  local a, first, last = o.a, o.first, o.last
  if place - first < last - place then
    first, place = first - 1, place - 1
    for i = first, place - 1 do a[i] = a[i + 1] end
  else
    for i = last, place, -1 do a[i + 1] = a[i] end
    last = last + 1
  end
  a[place], o.first, o.last = value, first, last
  return last - first + 1
end
local function take(o, place)
  local a, first, last, value = o.a, o.first, o.last, o.a[place]
  if place - first < last - place then
    for i = place, first + 1, -1 do a[i] = a[i - 1] end
    a[first], o.first = nil, first + 1
  else
    for i = place, last - 1 do a[i] = a[i + 1] end
    a[last], o.last = nil, last - 1
  end
  return value
end
local function slice(o, from, to, scores) -- by rank; one below 0 counts from the end
  local count, result = o.last - o.first + 1, {}
  from, to = number(from), number(to)
  for i = o.first + max(0, from < 0 and count + from or from), o.first + min(count - 1, to < 0 and count + to or to) do
    result[#result + 1] = o.a[i]
    if scores then result[#result + 1] = text(o.z[o.a[i]]) end
  end
  return result
end

function C.RPUSH(name, value)
  local o = write(name, 'list')
  return put(o, o.last + 1, text(value))
end
function C.LPUSH(name, value)
  local o = write(name, 'list')
  return put(o, o.first, text(value))
end
function C.LPOP(name)
  local o = read(name, 'list')
  local value = o ~= none and take(o, o.first)
  tidy(name, o)
  return value
end
function C.LINDEX(name, index) return slice(read(name, 'list'), index, index)[1] or false end
function C.LSET(name, index, value)
  local o = read(name, 'list')
  local place = (number(index) < 0 and o.last + 1 or o.first) + number(index)
  if not o.a[place] then error('ERR index out of range', 0) end
  o.a[place] = text(value)
  return { ok = 'OK' }
end
function C.LRANGE(name, from, to) return slice(read(name, 'list'), from, to) end
function C.LREM(name, count, value)
  if number(count) ~= 1 then error('the host removes the first one only', 0) end
  local o = read(name, 'list')
  for i = o.first, o.last do
    if o.a[i] == text(value) then
      take(o, i)
      tidy(name, o)
      return 1
    end
  end
  return 0
end

local function is_before(one, other) -- by bytes: < goes by the locale of the process
  for i = 1, #one do
    local a, b = byte(one, i), byte(other, i)
    if a ~= b then return b ~= nil and a < b end
  end
  return #one < #other
end
local function rank(o, score, member) -- its place, or the place that it would have
  local low, high, a, z = o.first, o.last + 1, o.a, o.z
  while low < high do
    local middle = floor((low + high) / 2)
    local each = a[middle]
    local other = z[each]
    if each == member then return middle end
    if other < score or other == score and is_before(each, member) then low = middle + 1 else high = middle end
  end
  return low
end
function C.ZADD(name, ...) -- [NX], then pairs of score and member
  local pairs, added = { ... }, 0
  local is_new = pairs[1] == 'NX'
  for i = is_new and 2 or 1, #pairs, 2 do
    local score, member = number(pairs[i]), text(pairs[i + 1])
    local o = write(name, 'zset')
    local before = o.z[member]
    if before == nil or not is_new and before ~= score then
      if before then take(o, rank(o, before, member)) end
      put(o, rank(o, score, member), member)
      o.z[member] = score
    end
    if before == nil then added = added + 1 end
  end
  return added
end
function C.ZREM(name, ...)
  local o, result = read(name, 'zset'), 0
  for _, member in ipairs({ ... }) do
    member = text(member)
    if o.z[member] ~= nil then
      take(o, rank(o, o.z[member], member))
      o.z[member], result = nil, result + 1
    end
  end
  tidy(name, o)
  return result
end
function C.ZSCORE(name, member)
  local score = read(name, 'zset').z[text(member)]
  return score and text(score) or false
end
function C.ZCARD(name)
  local o = read(name, 'zset')
  return o.last - o.first + 1
end
function C.ZRANGE(name, from, to, scores) return slice(read(name, 'zset'), from, to, scores) end
function C.ZRANGEBYSCORE(name, least, most, _, offset, count) -- LIMIT offset count
  local o, result, skipped = read(name, 'zset'), {}, 0
  for i = o.first, o.last do
    local score = o.z[o.a[i]]
    if score > number(most) or #result >= number(count) then break end
    if score >= number(least) then
      skipped = skipped + 1
      if skipped > number(offset) then result[#result + 1] = o.a[i] end
    end
  end
  return result
end
function C.ZREVRANGEBYSCORE(name, most, _, _, _, _, count) -- -inf WITHSCORES LIMIT 0 count
  local o, result = read(name, 'zset'), {}
  for i = o.last, o.first, -1 do
    if #result >= 2 * number(count) then break end
    local score = o.z[o.a[i]]
    if score <= number(most) then
      result[#result + 1], result[#result + 2] = o.a[i], text(score)
    end
  end
  return result
end
function C.ZREMRANGEBYRANK(name, from, to) return C.ZREM(name, unpack(C.ZRANGE(name, from, to))) end

local function shown(entry) -- { milliseconds, number, words, where fields begin in them }, as it is answered
  local result = {}
  for i = entry[4], #entry[3] do result[#result + 1] = text(entry[3][i]) end
  return { format('%.0f-%.0f', entry[1], entry[2]), result }
end
function C.XADD(name, ...) -- [MAXLEN ~ most] * field value...
  local words, o, time, place = { ... }, write(name, 'stream'), floor(now), 0
  local last, from = o.a[o.last], words[1] == 'MAXLEN' and 5 or 2
  if last and time <= last[1] then
    time, place = last[1], last[2] + 1
  end
  if put(o, o.last + 1, { time, place, words, from }) > (from == 5 and number(words[3]) or huge) then take(o, o.first) end
  return format('%.0f-%.0f', time, place)
end
function C.XRANGE(name, from, _, _, count) -- an id, or -, + COUNT count
  local o, result, time, place = read(name, 'stream'), {}, match(from, '^(%d+)-?(%d*)$')
  time, place = tonumber(time) or 0, tonumber(place) or 0
  for i = o.first, o.last do
    if #result >= number(count) then break end
    local entry = o.a[i]
    if entry[1] > time or entry[1] == time and entry[2] >= place then result[#result + 1] = shown(entry) end
  end
  return result
end
function C.XLEN(name)
  local o = read(name, 'stream')
  return o.last - o.first + 1
end
function C.XREVRANGE(name) -- + - COUNT 1
  local o = read(name, 'stream')
  return o == none and {} or { shown(o.a[o.last]) }
end

-- calls ---------------------------------------------------------------------------------------------------------------
-- A table comes as values in a row: handing over each table within it would cost more than the verb itself.
local MAP, LIST, END = {}, {}, {}
local function unfold(row, at, is_map) -- from `at` up to END
  local result, name, value = {}, 0, nil
  while true do
    if is_map then
      name = row[at]
      if name == END then return result, at + 1 end
      value, at = row[at + 1], at + 2
    else
      name, value, at = name + 1, row[at], at + 1
      if value == END then return result, at end
    end
    if value == MAP or value == LIST then value, at = unfold(row, at, value == MAP) end
    result[name] = value
  end
end

local env = { cjson = { encode = encode, decode = decode, null = null } }
for name, each in pairs(_G) do env[name] = each end
env.redis = { call = function(command, ...) return C[command](...) end }
env.redis.pcall = env.redis.call -- no command is refused here
local scripts, H = {}, { MAP = MAP, LIST = LIST, END = END, NULL = null, encode = encode }
function H.load(verb, source) scripts[verb] = setfenv(assert(loadstring(source, '=' .. verb)), env) end
local function row_of(...) -- one that is longer than a call may be comes as a table
  local row = { ... }
  return row[2] == nil and row[1] ~= END and row[1] or row
end
function H.table(...) return (unfold(row_of(...), 1, true)) end
function H.decoded() return cached end

-- Run a verb as Redis would: KEYS[1] is the key; ARGV the request, which comes last, and the payloads.
function H.run(database, time, verb, key, payloads, ...)
  db, now = database, time
  local row, argv = row_of(...), {}
  for i = 1, payloads do argv[i + 1] = row[i] end
  argv[1] = unfold(row, payloads + 1, true)
  env.KEYS, env.ARGV = { key }, argv
  return scripts[verb]()
end

function H.command(database, time, name, ...)
  db, now = database, time
  return C[name](...)
end
return H
