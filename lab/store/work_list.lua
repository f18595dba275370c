-- The work list. Each text of ``texts`` either waits or is taken. Who takes one gets an epoch, a number that only
-- grows. ``holders`` has the epoch to which a text belongs, so that a node that was frozen settles nothing late.
-- needs: leases holders epoch

local DEAD_LETTERS = 1000

-- Let a text wait again, before the younger ones. After *most* failures put it aside: it may kill each node that
-- works on it. Its holder may still complete it as long as nobody else has taken it.
local function give_back(ns, petition, most)
  let_go(ns .. 'taken', petition)
  local epoch, failures, owner = holder_of(ns, petition)
  redis.call('ZREM', ns .. 'owned', owner .. ' ' .. petition)
  failures = failures + 1
  local text = redis.call('HGET', ns .. 'texts', petition)
  if not text then return end  -- deleted by hand
  if failures < most then
    redis.call('HSET', ns .. 'holders', petition, epoch .. ' ' .. failures .. ' ' .. owner)
    redis.call('LPUSH', ns .. 'waiting', petition)
    return
  end
  redis.call('LPUSH', ns .. 'dead', cjson.encode({petition, text, failures}))
  redis.call('LTRIM', ns .. 'dead', 0, DEAD_LETTERS - 1)
  redis.call('HDEL', ns .. 'texts', petition)
  redis.call('HDEL', ns .. 'holders', petition)
end

local function lease(ns, petition, text, time, seconds, owner)
  local epoch = next_epoch(ns)
  local _, failures = holder_of(ns, petition)
  redis.call('HSET', ns .. 'holders', petition, epoch .. ' ' .. failures .. ' ' .. owner)
  redis.call('ZADD', ns .. 'owned', 0, owner .. ' ' .. petition)
  hold(ns .. 'taken', petition, time, seconds)
  return {petition, text, epoch}
end

-- Give back the texts whose lease is over; *usual* is the length of most leases.
local function give_back_ended(ns, time, usual, most)
  for _, petition in ipairs(ended(ns .. 'taken', time, usual)) do give_back(ns, petition, most) end
end

local function take(ns, time, seconds, owner)
  local petition, text
  repeat  -- one that was completed although it waited again has no text any more
    petition = redis.call('LPOP', ns .. 'waiting')
    if not petition then return false end
    text = redis.call('HGET', ns .. 'texts', petition)
  until text
  return lease(ns, petition, text, time, seconds, owner)
end
