-- Let the texts that an owner took wait again.
-- KEYS: namespace and colon. ARGV: owner, failures at most. Returns how many they were.
-- needs: work_list

local ns, owner = KEYS[1], ARGV[1] .. ' '
local owned = redis.call('ZRANGEBYLEX', ns .. 'owned', '[' .. owner, '[' .. owner .. '\255')
for at = #owned, 1, -1 do give_back(ns, string.sub(owned[at], #owner + 1), tonumber(ARGV[2])) end
return #owned
