-- Give numbers to the bodies of a plan that a piece made; answers the first one. Whoever repeats the call, or dies after
-- it, wastes some: numbers have gaps.
-- request: count
return { cjson.encode({ first = state and call('HINCRBY', R, 'bodies', req.count) - req.count or nil }) }
