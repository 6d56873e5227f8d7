-- End a run that is not over, as `final`; pieces not started never start, live ones may still commit.
-- request: final, reason
if is_active() then end_run(req.final, req.reason) end
return { cjson.encode({ run = state or 'gone', opened = #opened > 0 and opened or nil, lasted = lasted }) }
