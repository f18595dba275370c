-- Put results on the result list.
-- needs: results leases holders

-- Put the filtered text of a petition on the result list; return 1. Call correct_results before.
-- If the petition has a result that finished after *former*, that stays: return 0 if it is of the same body, -1 if it
-- is of another. Without the digest of a *body*, the results are compared. An older one is of the id's former life.
-- After a 1, the caller keeps the digest by keep_bodies.
local function finish(ns, petition, text, time, former, body)
  -- The first write frees memory. So the script goes on in a full Redis (see clock.lua).
  if redis.call('HDEL', ns .. 'texts', petition) == 1 then  -- it stood on the work list
    local epoch, _, owner = holder_of(ns, petition)
    if epoch ~= '' then
      let_go(ns .. 'taken', petition)
      redis.call('ZREM', ns .. 'owned', owner .. ' ' .. petition)
      redis.call('HDEL', ns .. 'holders', petition)
    end
  end
  if redis.call('HSETNX', ns .. 'results', petition, text) == 0 then
    local kept = result(ns, petition, former)
    if kept then
      local before = body ~= '' and redis.call('HGET', ns .. 'results:bodies', petition)
      return (kept == text or before == body) and 0 or -1
    end
    redis.call('HSET', ns .. 'results', petition, text)
  end
  redis.call('ZADD', ns .. 'results:order', time, petition)
  return 1
end

-- Tell whether a text that was taken under *epoch* is another's now, and count it. Under epoch 0 it is not.
local function is_fenced(ns, petition, epoch)
  if epoch == '0' or holder_of(ns, petition) == epoch then return false end
  redis.call('INCR', ns .. 'fenced')
  return true
end

-- Keep digests: a list of petition, digest, petition, digest ... All at once: one command costs less than many.
local function keep_bodies(ns, bodies)
  if #bodies > 0 then redis.call('HSET', ns .. 'results:bodies', unpack(bodies)) end
end

-- Forget results that finished before *oldest*, and the oldest beyond *most*; some more than were *added*.
local function trim_results(ns, most, oldest, added)
  local order, at_once = ns .. 'results:order', 100 + added
  local excess = redis.call('ZCARD', order) - most
  local gone = redis.call('ZRANGEBYSCORE', order, '-inf', oldest, 'LIMIT', 0, at_once)
  if #gone == 0 and excess > 0 then gone = redis.call('ZRANGE', order, 0, math.min(excess, at_once) - 1) end
  if #gone > 0 then
    redis.call('ZREM', order, unpack(gone))
    redis.call('HDEL', ns .. 'results', unpack(gone))
    redis.call('HDEL', ns .. 'results:bodies', unpack(gone))
  end
end
