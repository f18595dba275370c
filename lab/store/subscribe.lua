-- Add a subscriber, or renew its lease.
-- KEYS: namespace and colon. ARGV: URI, lease in seconds.
-- Returns 1 if it was not there, else 0.
-- needs: leases

local set, time, seconds = KEYS[1] .. 'subscribers', now(), tonumber(ARGV[2])
for _, uri in ipairs(ended(set, time, seconds)) do let_go(set, uri) end
local is_new = redis.call('ZSCORE', set, ARGV[1]) and 0 or 1
hold(set, {ARGV[1]}, time, seconds)
return is_new
