-- Renew a lease, and take over from the dead.
-- KEYS: entry list. ARGV: node, lease in seconds, 1 if clients may push to its list, 1 if it is new, the silence after
-- which a missing connection tells that a node is dead, and the silent nodes that have none.
-- Returns -1 to a node that is no member any more, and to a new one whose identifier another has. Else how many
-- petitions were moved, the seconds until the next lease may end, and the nodes that are silent for longer than that.
-- needs: empty

local FORGET_SECONDS = 600
local MOVED_AT_ONCE = 10000  -- Redis serves the others in between

local node, lease, silence, time = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[5]), now()
local is_new = ARGV[4] == '1'
go_on_if_full(entry)
if is_new and redis.call('ZSCORE', members, node) or not is_new and not is_member(node) then return {-1, '0'} end

local function set_lease(member, lease_end)
  redis.call('ZADD', members, lease_end, member)
  if lease_end > 0 then redis.call('ZADD', nodes, 'XX', lease_end, member) end
end

-- The clock was set back: no lease ends later than now + its length. A time of take-over is never in the future.
for _, other in ipairs(redis.call('ZRANGEBYSCORE', members, string.format('(%.6f', time + lease), '+inf')) do
  set_lease(other, time + lease)
end
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', members, '-inf', string.format('(-%.6f', time))) do
  set_lease(dead, -time)
end
-- Nobody was heard of: Redis was away, the machine stood still, or the clock was set forward. That is no sign of
-- death, and no measure of how long a node is dead.
local pulsed = redis.call('GET', entry .. ':pulsed')
if not pulsed or time - tonumber(pulsed) > lease / 2 then
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', members, '(0', time + lease)) do set_lease(other, time + lease) end
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', members, '-inf', '(0')) do set_lease(dead, -time) end
end
redis.call('SET', entry .. ':pulsed', time, 'EX', 60)

redis.call('ZADD', members, time + lease, node)
if ARGV[3] == '1' then redis.call('ZADD', nodes, time + lease, node) else redis.call('ZREM', nodes, node) end
local silent, is_silent = redis.call('ZRANGEBYSCORE', members, '(0', time + lease - silence), {}
for _, other in ipairs(silent) do is_silent[other] = true end
for at = 6, #ARGV do
  if is_silent[ARGV[at]] then redis.call('ZADD', members, time, ARGV[at]) end
end
local moved = 0
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', members, '-inf', time)) do
  local lease_end = tonumber(redis.call('ZSCORE', members, dead))
  moved = moved + empty(dead, true, MOVED_AT_ONCE)
  if lease_end > 0 then
    redis.call('ZADD', members, -time, dead)
  elseif -lease_end < time - FORGET_SECONDS then
    redis.call('ZREM', members, dead)
  end
end
-- The members were deleted by hand: what was pushed for a node that died then is served all the same.
for _, other in ipairs(redis.call('ZRANGE', nodes, 0, -1)) do
  if not redis.call('ZSCORE', members, other) then moved = moved + empty(other, false, MOVED_AT_ONCE) end
end
local first = redis.call('ZRANGEBYSCORE', members, '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local pause = moved >= MOVED_AT_ONCE and 0 or tonumber(first[2]) - time
return {moved, tostring(pause), unpack(redis.call('ZRANGEBYSCORE', members, '(0', time + lease - silence))}
