-- Put a text on the work list.
-- KEYS: namespace and colon. ARGV: petition id, text, time to live of ids.
-- Returns 1 if it waits now, 0 if it stood there before, -1 if the id is that of another text.
-- needs: once

local ns, petition, text = KEYS[1], ARGV[1], ARGV[2]
return once(ns, 'submit', petition, text, ARGV[3], function()
  local before = redis.call('HGET', ns .. 'texts', petition)
  if before and before ~= text then return -1 end  -- the id expired, but its text is not finished yet
  if not before then
    redis.call('HSET', ns .. 'texts', petition, text)
  elseif redis.call('ZSCORE', ns .. 'taken', petition) or redis.call('LPOS', ns .. 'waiting', petition) then
    return 0
  end
  redis.call('RPUSH', ns .. 'waiting', petition)
  -- The id is new, or it expired. Then what it gave in its former life goes.
  if redis.call('HDEL', ns .. 'results', petition) == 1 then
    redis.call('ZREM', ns .. 'results:order', petition)
  end
  return 1
end)
