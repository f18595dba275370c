-- Push petitions to the lists of the live nodes, in turn; to the entry list if no node is live.
-- KEYS: entry list, live nodes, turn. ARGV: a node's lease in seconds, then petitions. Returns how many nodes are live.
-- A live node is a member for at least as long (pulse.lua). The step that ends that gives its list to the others, so no
-- list is pushed to that nobody serves. A lease that ends too late is of before the clock was set back: not believed.
-- needs: clock

local time = now()
local live = redis.call('ZRANGEBYSCORE', KEYS[2], time, string.format('%.6f', time + tonumber(ARGV[1])))
if #live == 0 then
  redis.call('RPUSH', KEYS[1], unpack(ARGV, 2))
  return 0
end
local turn = redis.call('INCRBY', KEYS[3], #ARGV - 1)
for at = 2, #ARGV do
  redis.call('RPUSH', KEYS[1] .. ':node:' .. live[(turn + at) % #live + 1], ARGV[at])
end
return #live
