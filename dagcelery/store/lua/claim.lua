-- Claim a ready piece, or a batch of short ones, with inputs. The worker that dies before this call holds nothing; after it, its claim names
-- it, and a sweep gives the piece to another worker.
-- request: owner, token, want {queue, owner, message, focus, only, slots, ranges, short, arrived, tells, beside, others}
if not state then return reply({}) end
return repeated() or conclude({ 'none' })
