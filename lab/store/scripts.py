"""The store's effects as Lua, so that an effect and the record of its operation id are one atomic step.

``EFFECTS`` defines local functions; a script is ``EFFECTS`` followed by a body that calls them. redis_impl
composes scripts of its own from the same effects, so that effect, reply and removal of a petition are one
step as well. Every effect takes *ns*, the namespace with its colon.
"""

KEPT_CHANGES = 10_000

NOW = """
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end
"""

READING = """
-- Return the filtered text of a petition that finished after *oldest*.
local function result(ns, petition, oldest)
  local finished = redis.call('ZSCORE', ns .. 'results:order', petition)
  return finished and tonumber(finished) > oldest and redis.call('HGET', ns .. 'results', petition)
end

-- Return the epoch of who holds a text, how often a lease of it ran out, and its owner; see work_scripts.
local function holder_of(ns, petition)
  local holder = redis.call('HGET', ns .. 'holders', petition)
  if not holder then return '', 0, '' end
  local epoch, failures, owner = string.match(holder, '^(%d+) (%d+) (.*)$')
  return epoch, tonumber(failures), owner
end
"""
"""What scripts that only look need; each function of a script is paid for at every call."""

EFFECTS = (
    NOW
    + READING
    + f"""
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
  if redis.call('HDEL', ns .. 'texts', petition) == 1 then  -- it stood on the work list
    local epoch, _, owner = holder_of(ns, petition)
    if epoch ~= '' then
      redis.call('ZREM', ns .. 'taken', petition)
      redis.call('ZREM', ns .. 'owned', owner .. ' ' .. petition)
      redis.call('HDEL', ns .. 'holders', petition)
    end
  end
  local finished = now()
  if redis.call('HSETNX', ns .. 'results', petition, text) == 0 then
    if result(ns, petition, finished - ttl) then return 0 end
    redis.call('HSET', ns .. 'results', petition, text)  -- what stood there was too old to be read
  end
  redis.call('ZADD', ns .. 'results:order', finished, petition)
  trim_results(ns, most, finished - ttl)
  return 1
end
"""
)

ADD_INSULT = EFFECTS + "return add_insult(KEYS[1], ARGV[1], ARGV[2], ARGV[3])"
REMOVE_INSULT = EFFECTS + "return remove_insult(KEYS[1], ARGV[1], ARGV[2], ARGV[3])"
SET_BROADCAST = EFFECTS + "return set_broadcast(KEYS[1], ARGV[1], ARGV[2], ARGV[3])"

ADD_SUBSCRIBER = (
    NOW
    + """
local subscribers = KEYS[1] .. 'subscribers'
local lease_end = tonumber(redis.call('ZSCORE', subscribers, ARGV[1]) or 0)
redis.call('ZADD', subscribers, now() + tonumber(ARGV[2]), ARGV[1])
return lease_end > now() and 0 or 1
"""
)

SUBSCRIBERS = (
    NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1] .. 'subscribers', '-inf', now())
return redis.call('ZRANGE', KEYS[1] .. 'subscribers', 0, -1)
"""
)

# ARGV: owner, lease in seconds. Returns the epoch and the seconds since the last tick, or nothing.
HOLD_BROADCAST = (
    NOW
    + """
local ns, held = KEYS[1], KEYS[1] .. 'broadcaster'
local epoch, owner = string.match(redis.call('GET', held) or '', '^(%d+) (.*)$')
if owner and owner ~= ARGV[1] then return false end
if not owner then epoch = redis.call('INCR', ns .. 'epoch') end
redis.call('SET', held, epoch .. ' ' .. ARGV[1], 'PX', ARGV[2])
local ticked = redis.call('GET', ns .. 'ticks:at')
return {tostring(epoch), ticked and tostring(now() - tonumber(ticked)) or ''}
"""
)

LEAVE_BROADCAST = """
local held = KEYS[1] .. 'broadcaster'
if string.match(redis.call('GET', held) or '', '^%d+ (.*)$') == ARGV[1] then redis.call('DEL', held) end
"""

# ARGV: epoch, or 0 to ask nobody.
NEXT_TICK = (
    NOW
    + """
local ns = KEYS[1]
local epoch = string.match(redis.call('GET', ns .. 'broadcaster') or '', '^(%d+) ')
if ARGV[1] ~= '0' and ARGV[1] ~= epoch then return 0 end
redis.call('SET', ns .. 'ticks:at', now())
return redis.call('INCR', ns .. 'ticks')
"""
)

# ARGV: petition id, time to live of results.
RESULT = NOW + READING + "return result(KEYS[1], ARGV[1], now() - tonumber(ARGV[2]))"

# ARGV: limit, time to live of results. Returns petition ids, the newest first.
NEWEST_RESULTS = (
    NOW
    + """
local order, oldest = KEYS[1] .. 'results:order', now() - tonumber(ARGV[2])
return redis.call('ZREVRANGEBYSCORE', order, '+inf', '(' .. oldest, 'LIMIT', 0, ARGV[1])
"""
)
