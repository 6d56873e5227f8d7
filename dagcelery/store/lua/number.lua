-- Give numbers to the bodies of a plan that a piece made; answers the first one. A call that is repeated, and a worker
-- that dies after it, waste some: numbers have gaps.
-- request: count
return reply({ first = state and call('HINCRBY', R, 'bodies', req.count) - req.count or nil })
