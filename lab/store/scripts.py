"""The store's effects as Lua, so that an effect and the record of its operation id are one atomic step.

``EFFECTS`` defines local functions; a script is ``EFFECTS`` followed by a body that calls them. redis_impl
composes scripts of its own from the same effects, so that effect, reply and removal of a petition are one
step as well. Every effect takes *ns*, the namespace with its colon.
"""

KEPT_CHANGES = 10_000

EFFECTS = f"""
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- Return the recorded answer of an operation, or perform it and record its answer.
local function once(ns, kind, id, ttl, effect)
  if id == '' then return effect() end
  local record = ns .. 'op:' .. kind .. ':' .. id
  local recorded = redis.call('GET', record)
  if recorded then return tonumber(recorded) end
  local answer = effect()
  redis.call('SET', record, answer, 'EX', ttl)
  return answer
end

local function add_insult(ns, insult, id, ttl)
  return once(ns, 'add', id, ttl, function()
    local new = redis.call('ZADD', ns .. 'insults', 0, insult)
    if new == 1 then redis.call('XADD', ns .. 'changes', 'MAXLEN', '~', {KEPT_CHANGES}, '*', '+', insult) end
    return new
  end)
end

local function remove_insult(ns, insult, id, ttl)
  return once(ns, 'remove', id, ttl, function()
    local gone = redis.call('ZREM', ns .. 'insults', insult)
    if gone == 1 then redis.call('XADD', ns .. 'changes', 'MAXLEN', '~', {KEPT_CHANGES}, '*', '-', insult) end
    return gone
  end)
end

local function set_broadcast(ns, on, id, ttl)
  return once(ns, 'broadcast' .. on, id, ttl, function()
    local before = redis.call('GET', ns .. 'broadcast') or '0'
    redis.call('SET', ns .. 'broadcast', on)
    return before == on and 0 or 1
  end)
end

local function trim_results(ns, most, oldest)
  local order = ns .. 'results:order'
  local excess = redis.call('ZCARD', order) - most
  local gone = redis.call('ZRANGEBYSCORE', order, '-inf', oldest, 'LIMIT', 0, 100)
  if #gone == 0 and excess > 0 then gone = redis.call('ZRANGE', order, 0, math.min(excess, 100) - 1) end
  if #gone > 0 then
    redis.call('ZREM', order, unpack(gone))
    redis.call('HDEL', ns .. 'results', unpack(gone))
  end
end

-- Put a filtered text on the result list, unless its petition has a result already.
local function complete(ns, petition, text, most, ttl)
  redis.call('ZREM', ns .. 'taken', petition)
  redis.call('HDEL', ns .. 'texts', petition)
  if redis.call('HSETNX', ns .. 'results', petition, text) == 0 then return 0 end
  local finished = now()
  redis.call('ZADD', ns .. 'results:order', finished, petition)
  trim_results(ns, most, finished - ttl)
  return 1
end
"""

ADD_INSULT = EFFECTS + "return add_insult(KEYS[1], ARGV[1], ARGV[2], ARGV[3])"
REMOVE_INSULT = EFFECTS + "return remove_insult(KEYS[1], ARGV[1], ARGV[2], ARGV[3])"
SET_BROADCAST = EFFECTS + "return set_broadcast(KEYS[1], ARGV[1], ARGV[2], ARGV[3])"

ADD_SUBSCRIBER = (
    EFFECTS
    + """
local subscribers = KEYS[1] .. 'subscribers'
local lease_end = tonumber(redis.call('ZSCORE', subscribers, ARGV[1]) or 0)
redis.call('ZADD', subscribers, now() + tonumber(ARGV[2]), ARGV[1])
return lease_end > now() and 0 or 1
"""
)

SUBSCRIBERS = (
    EFFECTS
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1] .. 'subscribers', '-inf', now())
return redis.call('ZRANGE', KEYS[1] .. 'subscribers', 0, -1)
"""
)

SUBMIT = (
    EFFECTS
    + """
local ns = KEYS[1]
return once(ns, 'submit', ARGV[1], ARGV[3], function()
  redis.call('HSET', ns .. 'texts', ARGV[1], ARGV[2])
  redis.call('RPUSH', ns .. 'waiting', ARGV[1])
  return 1
end)
"""
)

TAKE = (
    EFFECTS
    + """
local ns = KEYS[1]
local time = now()
for _, petition in ipairs(redis.call('ZREVRANGEBYSCORE', ns .. 'taken', time, '-inf')) do
  redis.call('ZREM', ns .. 'taken', petition)
  redis.call('LPUSH', ns .. 'waiting', petition)
end
local petition, text
repeat  -- a text that waited again was completed meanwhile if it is not there: its node lived after all
  petition = redis.call('LPOP', ns .. 'waiting')
  if not petition then return false end
  text = redis.call('HGET', ns .. 'texts', petition)
until text
redis.call('ZADD', ns .. 'taken', time + tonumber(ARGV[1]), petition)
return {petition, text}
"""
)

COMPLETE = (
    EFFECTS
    + """
local ns = KEYS[1]
if ARGV[3] ~= '' then
  redis.call('SET', ns .. 'op:resolve:' .. ARGV[3], cjson.encode({ARGV[1], ARGV[2]}), 'EX', ARGV[4])
end
return complete(ns, ARGV[1], ARGV[2], tonumber(ARGV[5]), tonumber(ARGV[6]))
"""
)
