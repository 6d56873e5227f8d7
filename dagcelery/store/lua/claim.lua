-- Claim one ready piece with its inputs. The worker that dies before this call holds nothing; after it, its claim names
-- it, and a sweep gives the piece to another worker.
-- request: owner, token, want {queue, owner, message, focus, only, slots, ranges, arrived}
if not state then return reply({}) end
return repeated() or conclude('none')
