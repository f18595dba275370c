-- Put texts on the work list.
-- KEYS: namespace and colon. ARGV: time to live of ids, then of each text: petition id, text.
-- Returns for each 1 if it waits now, 0 if it stood there before, -1 if the id is that of another text.
-- needs: once

local ns, answers = KEYS[1], {}

local function submit(petition, text)
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
end

for at = 2, #ARGV, 2 do
  local petition, text = ARGV[at], ARGV[at + 1]
  answers[at / 2] = once(ns, 'submit', petition, text, ARGV[1], function() return submit(petition, text) end)
end
return answers
