-- The result list: the hash ``results`` and the sorted set ``results:order``, scored by when each finished.
-- needs: clock

-- The clock was set back: move the results that finished later than now back, so that the newest is just before now.
local function correct_results(ns, time)
  local order = ns .. 'results:order'
  local newest = redis.call('ZREVRANGE', order, 0, 0, 'WITHSCORES')
  local ahead = newest[2] and tonumber(newest[2]) - time or 0
  if ahead <= 0 then return end
  local late = redis.call('ZRANGEBYSCORE', order, string.format('(%.6f', time), '+inf', 'WITHSCORES')
  for at = 1, #late, 2 do redis.call('ZADD', order, tonumber(late[at + 1]) - ahead - 0.00001, late[at]) end
end

-- Return the filtered text of a petition that finished after *oldest*.
local function result(ns, petition, oldest)
  local finished = redis.call('ZSCORE', ns .. 'results:order', petition)
  return finished and tonumber(finished) > oldest and redis.call('HGET', ns .. 'results', petition)
end
