-- Read whole values of a scope, up to 1 MB: the bytes of the first so many tokens, nil where nothing is stored.
-- request: scope, tokens
local values, size = {}, 0
for i, token in ipairs(req.tokens) do
  local origin, plain = resolve(req.scope, token)
  size = size + call('HSTRLEN', key('o', origin), plain)
  if size > 1048576 and i > 1 then break end
  values[i] = call('HGET', key('o', origin), plain)
end
return values
