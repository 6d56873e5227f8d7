-- End a run that is not over, as `final`; pieces not started never start, live ones may still commit. Repeated, it
-- changes nothing. A full server takes it: what is over can be deleted.
-- request: final, reason
begin_with_removal()
if is_active() then end_run(req.final, req.reason) end
return reply({ lasted = lasted })
