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

-- Lease texts, each given as {petition id, text, failures}, under one epoch. Return each as {petition id, text, epoch}.
local function lease(ns, texts, time, seconds, owner)
  if #texts == 0 then return texts end
  local epoch = next_epoch(ns)
  local petitions, holders, owned = {}, {}, {}
  for at, text in ipairs(texts) do
    local petition, failures = text[1], text[3]
    petitions[at], text[3] = petition, epoch
    holders[2 * at - 1], holders[2 * at] = petition, epoch .. ' ' .. failures .. ' ' .. owner
    owned[2 * at - 1], owned[2 * at] = 0, owner .. ' ' .. petition
  end
  redis.call('HSET', ns .. 'holders', unpack(holders))
  redis.call('ZADD', ns .. 'owned', unpack(owned))
  hold(ns .. 'taken', petitions, time, seconds)
  return texts
end

-- Give back the texts whose lease is over; *usual* is the length of most leases.
local function give_back_ended(ns, time, usual, most)
  for _, petition in ipairs(ended(ns .. 'taken', time, usual)) do give_back(ns, petition, most) end
end

-- Take the oldest texts, up to *wanted*. One that failed before is taken alone: it may kill the node, and the others of
-- its batch would fail with it.
local function take(ns, time, seconds, owner, wanted)
  local taken = {}
  while #taken < wanted do
    local petition = redis.call('LPOP', ns .. 'waiting')
    if not petition then break end
    local text = redis.call('HGET', ns .. 'texts', petition)
    if text then  -- one that was completed although it waited again has none any more
      local _, failures = holder_of(ns, petition)
      if failures > 0 and #taken > 0 then
        redis.call('LPUSH', ns .. 'waiting', petition)
        break
      end
      taken[#taken + 1] = {petition, text, failures}
      if failures > 0 then break end
    end
  end
  return lease(ns, taken, time, seconds, owner)
end
