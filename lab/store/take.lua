-- Take the oldest text that waits.
-- KEYS: namespace and colon. ARGV: lease in seconds, owner, failures at most.
-- Returns the petition id, the text and the epoch, or nothing.
-- needs: work_list results

local ns, time, seconds = KEYS[1], now(), tonumber(ARGV[1])
hear_results(ns, time)
give_back_ended(ns, time, seconds, tonumber(ARGV[3]))
return take(ns, time, seconds, ARGV[2])
