-- Remove results of a task that are kept for other runs, 300 at a time; answers how many names there were, 0 at last,
-- and how many of them were results, not chunks of large ones. Runs without a prelude: KEYS[1], the names of a task's
-- results, belongs to no run. A worker that dies between two calls has removed some, and the next one removes the rest.
local call, names = redis.call, KEYS[1]
local first, results = call('ZRANGE', names, 0, 299), 0
for _, name in ipairs(first) do
  call('UNLINK', names .. ':' .. name)
  call('ZREM', names, name)
  if string.sub(name, 1, 2) ~= 'x:' then results = results + 1 end
end
return { #first, results }
