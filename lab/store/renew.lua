-- Renew the lease of a taken text, also in a full Redis: the node that works on it must not lose it for that.
-- KEYS: namespace and colon. ARGV: petition id, epoch, lease in seconds.
-- Returns 1, or 0 if the text waits again or is another's.
-- needs: leases holders

local ns, petition = KEYS[1], ARGV[1]
go_on_if_full(ns)
if holder_of(ns, petition) ~= ARGV[2] or not redis.call('ZSCORE', ns .. 'taken', petition) then return 0 end
hold(ns .. 'taken', {petition}, now(), tonumber(ARGV[3]))
return 1
