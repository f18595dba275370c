-- Take a text for a ``resolve``. Its id is bound to the first text that it took, whichever node finishes that.
-- KEYS: namespace and colon. ARGV: lease in seconds, owner, failures at most, operation id, time to live of ids and of results.
-- Returns the petition id, the text and the epoch, or nothing. The epoch of what is answered already is 0, that of what another works on -1.
-- needs: work_list results

local ns, time, seconds, owner = KEYS[1], now(), tonumber(ARGV[1]), ARGV[2]
local record, ttl = ns .. 'op:resolve:' .. ARGV[4], tonumber(ARGV[5])
local function keep(value)
  redis.call('SET', record, value, 'EX', ttl)
end

local known, petition = redis.call('GET', record), nil
if known and redis.call('TTL', record) > ttl then redis.call('EXPIRE', record, ttl) end  -- the clock was set back
if known == '[]' then return false end
if known then
  local answer
  petition, answer = unpack(cjson.decode(known))
  correct_results(ns, time)
  answer = answer or result(ns, petition, time - tonumber(ARGV[6]))
  if answer then
    keep(cjson.encode({petition, answer}))
    return {petition, answer, 0}
  end
end
give_back_ended(ns, time, seconds, tonumber(ARGV[3]))
if petition then
  if redis.call('ZSCORE', ns .. 'taken', petition) then return {petition, '', -1} end
  local text = redis.call('HGET', ns .. 'texts', petition)
  if text then  -- it waits again, at the front or near it
    redis.call('LREM', ns .. 'waiting', 1, petition)
    local _, failures = holder_of(ns, petition)
    return lease(ns, {{petition, text, failures}}, time, seconds, owner)[1]
  end
end
local taken = take(ns, time, seconds, owner, 1)[1]
keep(taken and cjson.encode({taken[1]}) or '[]')
return taken or false
