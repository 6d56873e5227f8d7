-- End a run that is not over, as `final`; pieces not started never start, live ones may still commit.
-- request: final, reason
if state == 'pending' or state == 'running' then end_run(req.final, req.reason) end
return { cjson.encode({ run = state or 'gone' }) }
