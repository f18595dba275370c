-- Return the result of a petition, or nothing.
-- KEYS: namespace and colon. ARGV: petition id, time to live of results.
-- needs: results

local time = now()
correct_results(KEYS[1], time)
return result(KEYS[1], ARGV[1], time - tonumber(ARGV[2]))
