"""Leases as Lua: who is a member, and what becomes of the petitions of one who is not any more.

A member's score in ``:members`` is when its lease ends, in Redis's seconds. One that was taken over keeps,
for a while, the negative time of that: whatever it still asks for is refused, and what it may still move
to its lists, with a command that was under way, is given to the others.
"""

from lab.store.scripts import EFFECTS

FORGET_SECONDS = 600
MOVED_AT_ONCE = 10_000
"""So many waiting petitions of a dead node are moved in one step; Redis serves the others in between."""

MEMBERS = (
    EFFECTS
    + """
local entry = KEYS[1]
local nodes, members = entry .. ':nodes', entry .. ':members'
local suspects, lane = entry .. ':suspects', entry .. ':suspect'

local function is_member(node)
  local lease_end = redis.call('ZSCORE', members, node)
  return lease_end and tonumber(lease_end) > 0
end

-- An entry of the suspects is how often the petition was delivered in vain, a space, and the petition.
local function suspected(item)
  local space = string.find(item, ' ', 1, true)
  return tonumber(string.sub(item, 1, space - 1)), string.sub(item, space + 1)
end
"""
)

EMPTY = (
    MEMBERS
    + """
-- Give what a node left to the others, at most so many of those that wait. What it worked on may have killed
-- it: if *is_blamed* that goes to the suspects, with one more delivery in vain.
local function empty(node, is_blamed, most)
  local list = entry .. ':node:' .. node
  local processing = list .. ':processing'
  local moved, is_suspect = 0, redis.call('GET', lane) == node
  if is_suspect then redis.call('DEL', lane) end
  while true do
    local item
    if is_blamed then
      item = redis.call('LPOP', processing)
      if item then
        local deliveries, petition = 0, item
        if is_suspect then deliveries, petition = suspected(item) end
        redis.call('RPUSH', suspects, (deliveries + 1) .. ' ' .. petition)
      end
    else
      item = redis.call('LMOVE', processing, is_suspect and suspects or entry, 'RIGHT', 'LEFT')
    end
    if not item then break end
    moved = moved + 1
  end
  while moved < most and redis.call('LMOVE', list, entry, 'RIGHT', 'LEFT') do moved = moved + 1 end
  redis.call('ZREM', nodes, node)
  redis.call('DEL', list .. ':settled')
  return moved
end
"""
)

# Renew a lease, and take over from the dead. KEYS: entry list.
# ARGV: node, lease, 1 if clients may push to its list, 1 if it is new, the silence after which a missing
# connection tells, and the nodes that have none. Returns -1 to who is no member any more; else how many
# petitions were moved, the seconds until the next lease may end, and the nodes that are silent for so long.
PULSE = (
    EMPTY
    + f"""
local node, lease, silence, time = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[5]), now()
if ARGV[4] == '0' and not is_member(node) then return {{-1, '0'}} end
-- Where nobody was heard of, Redis was away or the machine stood still: that is no sign of anyone's death.
local pulsed = redis.call('GET', entry .. ':pulsed')
if not pulsed or time - tonumber(pulsed) > lease / 2 then
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', members, '(0', time + lease)) do
    redis.call('ZADD', members, time + lease, other)
  end
end
redis.call('SET', entry .. ':pulsed', time, 'EX', 60)
redis.call('ZADD', members, time + lease, node)
if ARGV[3] == '1' then redis.call('ZADD', nodes, time + lease, node) else redis.call('ZREM', nodes, node) end
local silent, is_silent = redis.call('ZRANGEBYSCORE', members, '(0', time + lease - silence), {{}}
for _, other in ipairs(silent) do is_silent[other] = true end
for at = 6, #ARGV do
  if is_silent[ARGV[at]] then redis.call('ZADD', members, time, ARGV[at]) end
end
local moved = 0
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', members, '-inf', time)) do
  local lease_end = tonumber(redis.call('ZSCORE', members, dead))
  moved = moved + empty(dead, true, {MOVED_AT_ONCE})
  if lease_end > 0 then
    redis.call('ZADD', members, -time, dead)
  elseif -lease_end < time - {FORGET_SECONDS} then
    redis.call('ZREM', members, dead)
  end
end
local first = redis.call('ZRANGEBYSCORE', members, '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local pause = moved >= {MOVED_AT_ONCE} and 0 or tonumber(first[2]) - time
return {{moved, tostring(pause), unpack(redis.call('ZRANGEBYSCORE', members, '(0', time + lease - silence))}}
"""
)

# Leave at once, and let the others go on with what is left, the worked on first. Nobody is to blame. The last
# to leave forgets the dead as well. KEYS: entry list. ARGV: node.
LEAVE = (
    EMPTY
    + """
empty(ARGV[1], false, math.huge)
redis.call('ZREM', members, ARGV[1])
if redis.call('ZCOUNT', members, '(0', '+inf') == 0 then
  for _, dead in ipairs(redis.call('ZRANGE', members, 0, -1)) do empty(dead, true, math.huge) end
  redis.call('DEL', members, entry .. ':pulsed')
end
"""
)
