-- Move the times that a namespace keeps, in one step: what a clock that is set does to them.
-- KEYS: namespace and colon. ARGV: seconds.

local ns, seconds = KEYS[1], tonumber(ARGV[1])

-- Move the scores of a sorted set. Negative ones are times as well (members.lua).
local function move(set)
  local members = redis.call('ZRANGE', set, 0, -1, 'WITHSCORES')
  for at = 1, #members, 2 do
    local time = tonumber(members[at + 1])
    redis.call('ZADD', set, time < 0 and time - seconds or time + seconds, members[at])
  end
end

for _, name in ipairs({'taken', 'subscribers', 'broadcaster', 'filter:members', 'filter:nodes', 'service:members',
  'service:nodes'}) do
  move(ns .. name)
end
for _, name in ipairs({'taken:heard', 'subscribers:heard', 'broadcaster:heard', 'filter:pulsed', 'service:pulsed'}) do
  local time = redis.call('GET', ns .. name)
  if time then redis.call('SET', ns .. name, tonumber(time) + seconds) end
end
