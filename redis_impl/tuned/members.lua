-- The members: nodes with a lease. The score in ``:members`` is when a lease ends, in Redis's seconds. One that was
-- taken over keeps for a while the negative time of that: what it still asks for is refused, and what it may still
-- move to its lists, with a command that was under way, is given to the others.
-- needs: clock

local entry = KEYS[1]
local nodes, members = entry .. ':nodes', entry .. ':members'
local retry, retrying = entry .. ':retry', entry .. ':retrying'

local function is_member(node)
  local lease_end = redis.call('ZSCORE', members, node)
  return lease_end and tonumber(lease_end) > 0
end

-- An entry of the retry list is the number of nodes that died while they had the petition, a space, and the petition.
local function counted(item)
  local space = string.find(item, ' ', 1, true)
  return tonumber(string.sub(item, 1, space - 1)), string.sub(item, space + 1)
end
