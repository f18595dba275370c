-- The result list: the hash ``results`` and the sorted set ``results:order``, scored by when each finished.
-- The string ``results:heard`` says when somebody last used the list.
-- needs: clock

local RESULTS_SILENCE = 1800
local RESULTS_HEARD_EVERY = 10

-- Move the results that finished after *low* by so many seconds. Reading must go on in a Redis that takes no writes.
local function move_results(ns, low, seconds)
  local order = ns .. 'results:order'
  local found = redis.call('ZRANGEBYSCORE', order, low, '+inf', 'WITHSCORES')
  for at = 1, #found, 2 do redis.pcall('ZADD', order, tonumber(found[at + 1]) + seconds, found[at]) end
end

-- The clock was set forward, or nobody was there: results do not grow old meanwhile.
local function hear_results(ns, time)
  local heard = ns .. 'results:heard'
  local unheard = time - tonumber(redis.call('GET', heard) or 0)
  if unheard >= 0 and unheard < RESULTS_HEARD_EVERY then return end
  redis.pcall('DEL', ns .. 'never')  -- as in go_on_if_full
  if unheard > RESULTS_SILENCE and unheard < time then move_results(ns, '-inf', unheard - 0.00001) end
  redis.pcall('SET', heard, time)
end

-- The clock was set back: move the results that finished later than now back, so that the newest is just before now.
local function correct_results(ns, time)
  hear_results(ns, time)
  local newest = redis.call('ZREVRANGE', ns .. 'results:order', 0, 0, 'WITHSCORES')
  local ahead = newest[2] and tonumber(newest[2]) - time or 0
  if ahead > 0 then move_results(ns, string.format('(%.6f', time), -ahead - 0.00001) end
end

-- Return the filtered text of a petition that finished after *oldest*.
local function result(ns, petition, oldest)
  local finished = redis.call('ZSCORE', ns .. 'results:order', petition)
  return finished and tonumber(finished) > oldest and redis.call('HGET', ns .. 'results', petition)
end
