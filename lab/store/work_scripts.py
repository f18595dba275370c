"""The work list as Lua. Its keys stand in :mod:`lab.store.keys`.

Every text of ``texts`` is either taken or waits. Who takes one is given an epoch, a number that only grows;
the entry in ``holders`` says to which epoch the text belongs, so that a node that was frozen for longer than
its lease can settle nothing that was handed to another.
"""

from lab.store.scripts import EFFECTS, NOW, READING

DEAD_LETTERS = 1_000
"""So many are kept; the oldest are forgotten first."""

WORK_LIST = (
    NOW
    + READING
    + f"""
-- Let a text wait again, before the younger ones, or bury it: it may kill whoever works on it. Its holder may
-- still complete it, as long as nobody else has taken it.
local function give_back(ns, petition, most)
  redis.call('ZREM', ns .. 'taken', petition)
  local epoch, failures, owner = holder_of(ns, petition)
  redis.call('ZREM', ns .. 'owned', owner .. ' ' .. petition)
  failures = failures + 1
  if failures < most then
    redis.call('HSET', ns .. 'holders', petition, epoch .. ' ' .. failures .. ' ' .. owner)
    redis.call('LPUSH', ns .. 'waiting', petition)
    return
  end
  local letter = cjson.encode({{petition, redis.call('HGET', ns .. 'texts', petition), failures}})
  redis.call('LPUSH', ns .. 'dead', letter)
  redis.call('LTRIM', ns .. 'dead', 0, {DEAD_LETTERS - 1})
  redis.call('HDEL', ns .. 'texts', petition)
  redis.call('HDEL', ns .. 'holders', petition)
end

local function lease(ns, petition, text, time, seconds, owner)
  local epoch = redis.call('INCR', ns .. 'epoch')
  local _, failures = holder_of(ns, petition)
  redis.call('HSET', ns .. 'holders', petition, epoch .. ' ' .. failures .. ' ' .. owner)
  redis.call('ZADD', ns .. 'owned', 0, owner .. ' ' .. petition)
  redis.call('ZADD', ns .. 'taken', time + seconds, petition)
  return {{petition, text, epoch}}
end

local function give_back_expired(ns, time, most)
  for _, petition in ipairs(redis.call('ZREVRANGEBYSCORE', ns .. 'taken', time, '-inf')) do
    give_back(ns, petition, most)
  end
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
"""
)

# ARGV: petition, text, time to live of its id.
SUBMIT = (
    EFFECTS
    + """
local ns = KEYS[1]
return once(ns, 'submit', ARGV[1], ARGV[3], function()
  if redis.call('HSETNX', ns .. 'texts', ARGV[1], ARGV[2]) == 0 then return 0 end
  redis.call('RPUSH', ns .. 'waiting', ARGV[1])
  return 1
end)
"""
)

# ARGV: lease in seconds, owner, failures at most.
TAKE = (
    WORK_LIST
    + """
local ns, time = KEYS[1], now()
give_back_expired(ns, time, tonumber(ARGV[3]))
return take(ns, time, tonumber(ARGV[1]), ARGV[2])
"""
)

# ARGV: as TAKE, then operation id, time to live of ids and of results. The epoch of what is answered already
# is 0, that of what another works on -1. The id is bound to the first text it took, whoever finishes that.
TAKE_FOR = (
    WORK_LIST
    + """
local ns, time, seconds, owner = KEYS[1], now(), tonumber(ARGV[1]), ARGV[2]
local record = ns .. 'op:resolve:' .. ARGV[4]
local function keep(value)
  redis.call('SET', record, value, 'EX', ARGV[5])
end
local known, petition, answer = redis.call('GET', record), nil, nil
if known == '[]' then return false end
if known then
  petition, answer = unpack(cjson.decode(known))
  answer = answer or result(ns, petition, time - tonumber(ARGV[6]))
  if answer then
    keep(cjson.encode({petition, answer}))
    return {petition, answer, 0}
  end
end
give_back_expired(ns, time, tonumber(ARGV[3]))
if petition then
  if redis.call('ZSCORE', ns .. 'taken', petition) then return {petition, '', -1} end
  local text = redis.call('HGET', ns .. 'texts', petition)
  if text then  -- it waits again, at the front or near it
    redis.call('LREM', ns .. 'waiting', 1, petition)
    return lease(ns, petition, text, time, seconds, owner)
  end
end
local taken = take(ns, time, seconds, owner)
keep(taken and cjson.encode({taken[1]}) or '[]')
return taken
"""
)

# ARGV: petition, epoch, lease in seconds.
RENEW = (
    NOW
    + READING
    + """
local ns = KEYS[1]
if holder_of(ns, ARGV[1]) ~= ARGV[2] or not redis.call('ZSCORE', ns .. 'taken', ARGV[1]) then return 0 end
redis.call('ZADD', ns .. 'taken', now() + tonumber(ARGV[3]), ARGV[1])
return 1
"""
)

# ARGV: owner, failures at most.
RELEASE = (
    WORK_LIST
    + """
local ns, owner = KEYS[1], ARGV[1] .. ' '
local owned = redis.call('ZRANGEBYLEX', ns .. 'owned', '[' .. owner, '[' .. owner .. '\\255')
for at = #owned, 1, -1 do give_back(ns, string.sub(owned[at], #owner + 1), tonumber(ARGV[2])) end
return #owned
"""
)

# ARGV: petition, text, operation id, time to live of ids, results' limits (2), epoch or 0.
COMPLETE = (
    EFFECTS
    + """
local ns, petition = KEYS[1], ARGV[1]
if ARGV[7] ~= '0' and holder_of(ns, petition) ~= ARGV[7] then
  redis.call('INCR', ns .. 'fenced')
  return 0
end
if ARGV[3] ~= '' then
  redis.call('SET', ns .. 'op:resolve:' .. ARGV[3], cjson.encode({petition, ARGV[2]}), 'EX', ARGV[4])
end
return complete(ns, petition, ARGV[2], tonumber(ARGV[5]), tonumber(ARGV[6]))
"""
)
