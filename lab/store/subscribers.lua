-- Drop the subscribers whose lease is over, and return the others.
-- KEYS: namespace and colon. ARGV: the usual lease in seconds.
-- needs: leases

local set = KEYS[1] .. 'subscribers'
for _, uri in ipairs(ended(set, now(), tonumber(ARGV[1]))) do let_go(set, uri) end
return redis.call('ZRANGE', set, 0, -1)
