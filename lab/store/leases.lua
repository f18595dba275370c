-- Leases: the members of a sorted set SET, scored by when each lease ends.
-- The hash SET:lengths has the length of each. The string SET:heard says when somebody last used the set.
-- needs: clock

local SHORTEST_SILENCE = 0.75
local is_heard = false  -- whether the time in SET:heard is good enough

-- Give or renew the leases of these members, for so many seconds.
local function hold(set, held, time, seconds)
  local ends, lengths = {}, {}
  for at, member in ipairs(held) do
    ends[2 * at - 1], ends[2 * at] = time + seconds, member
    lengths[2 * at - 1], lengths[2 * at] = member, seconds
  end
  redis.call('ZADD', set, unpack(ends))
  redis.call('HSET', set .. ':lengths', unpack(lengths))
  if not is_heard then redis.call('SET', set .. ':heard', time) end
end

local function let_go(set, member)
  redis.call('HDEL', set .. ':lengths', member)
  return redis.call('ZREM', set, member)
end

-- The clock was set back: a lease that ends later than now + its length ends at now + its length.
-- *usual* is the length of most leases here; those that end within it need no look.
local function shorten(set, time, usual)
  local late = redis.call('ZRANGEBYSCORE', set, string.format('(%.6f', time + usual), '+inf', 'WITHSCORES')
  for at = 1, #late, 2 do
    local length = math.abs(tonumber(redis.call('HGET', set .. ':lengths', late[at]) or usual))
    if tonumber(late[at + 1]) > time + length then
      go_on_if_full(set)
      redis.call('ZADD', set, time + length, late[at])
    end
  end
end

-- Nobody was heard of for a while: the clock was set forward, Redis was away, or the machine stood still.
-- That is no sign of death. Each lease gets its length once more, but only once: its length is negative then.
-- Return those of the members that had that already.
local function spare(set, time, over)
  local ended = {}
  for _, member in ipairs(over) do
    local length = tonumber(redis.call('HGET', set .. ':lengths', member) or '0')
    if length > 0 then
      redis.call('ZADD', set, time + length, member)
      redis.call('HSET', set .. ':lengths', member, -length)
    else
      ended[#ended + 1] = member
    end
  end
  return ended
end

-- Return the members whose lease is over, that which ended last first. They stay in the set.
local function ended(set, time, usual)
  local heard = redis.call('GET', set .. ':heard')
  if not heard then return {} end  -- there was never a lease
  local silence, unheard = math.max(SHORTEST_SILENCE, usual / 2), time - tonumber(heard)
  is_heard = unheard >= 0 and unheard <= silence / 3
  if not is_heard and redis.call('EXISTS', set) == 1 then
    go_on_if_full(set)
    redis.call('SET', set .. ':heard', time)
    is_heard = true
  end
  shorten(set, time, usual)
  local over = redis.call('ZREVRANGEBYSCORE', set, string.format('%.6f', time), '-inf')
  if #over > 0 and unheard > silence then over = spare(set, time, over) end
  return over
end
