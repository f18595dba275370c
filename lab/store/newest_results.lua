-- Return the ids of the newest results, the newest first.
-- KEYS: namespace and colon. ARGV: how many, time to live of results.
-- needs: results

local time = now()
correct_results(KEYS[1], time)
local oldest = string.format('(%.6f', time - tonumber(ARGV[2]))
return redis.call('ZREVRANGEBYSCORE', KEYS[1] .. 'results:order', '+inf', oldest, 'LIMIT', 0, ARGV[1])
