"""The steps on lists that must be atomic, as Lua; effects on the store come from :mod:`lab.store.scripts`."""

from lab.store.scripts import EFFECTS

REPLY_TTL_SECONDS = 60
KEPT_REJECTED = 1000

# Push petitions (ARGV) to the lists of the live nodes, in turn; to the entry list if no node is live.
# KEYS: entry list, live nodes, turn.
PUSH = (
    EFFECTS
    + """
local live = redis.call('ZRANGEBYSCORE', KEYS[2], now(), '+inf')
if #live == 0 then
  redis.call('RPUSH', KEYS[1], unpack(ARGV))
  return 0
end
local turn = redis.call('INCRBY', KEYS[3], #ARGV)
for index, petition in ipairs(ARGV) do
  redis.call('RPUSH', KEYS[1] .. ':node:' .. live[(turn + index) % #live + 1], petition)
end
return #live
"""
)

# Register a node (ARGV: identifier, lease), and move to the entry list what nodes left that are dead.
# ':members' has every node, on demand or not; KEYS: entry list, live nodes.
PULSE = (
    EFFECTS
    + """
local time = now()
local members = KEYS[1] .. ':members'
redis.call('ZADD', members, time + tonumber(ARGV[2]), ARGV[1])
if ARGV[3] == '1' then redis.call('ZADD', KEYS[2], time + tonumber(ARGV[2]), ARGV[1]) end
local moved = 0
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', members, '-inf', time)) do
  for _, suffix in ipairs({':processing', ''}) do
    local list = KEYS[1] .. ':node:' .. dead .. suffix
    while redis.call('LMOVE', list, KEYS[1], 'RIGHT', 'LEFT') do moved = moved + 1 end
  end
  redis.call('ZREM', members, dead)
  redis.call('ZREM', KEYS[2], dead)
  redis.call('DEL', KEYS[1] .. ':node:' .. dead .. ':settled')
end
return moved
"""
)

# Leave at once: the lease is over, so that the next pulse of any node, or ours now, moves what is left.
LEAVE = """
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[1] .. ':members', 0, ARGV[1])
local list = KEYS[1] .. ':node:' .. ARGV[1]
while redis.call('LMOVE', list, KEYS[1], 'RIGHT', 'LEFT') do end
while redis.call('LMOVE', list .. ':processing', KEYS[1], 'RIGHT', 'LEFT') do end
redis.call('ZREM', KEYS[1] .. ':members', ARGV[1])
redis.call('DEL', list .. ':settled')
"""

# Settle a batch and take the next, in one step. KEYS: namespace, own list, entry list.
# ARGV: turn of the batch, its size, how many to take, results' limits (2), number of replies, then pairs of
# reply list and reply, then pairs of petition id and filtered text. A batch is settled once: a repeated turn,
# after a connection broke, only takes.
SETTLE = (
    EFFECTS
    + f"""
local ns, own, entry = KEYS[1], KEYS[2], KEYS[3]
local processing, settled = own .. ':processing', own .. ':settled'
local size, wanted, replies = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[6])
if size > 0 and redis.call('GET', settled) ~= ARGV[1] then
  local at = 7
  for _ = 1, replies do
    redis.pcall('RPUSH', ARGV[at], ARGV[at + 1])
    redis.pcall('EXPIRE', ARGV[at], {REPLY_TTL_SECONDS})
    at = at + 2
  end
  while at < #ARGV do
    complete(ns, ARGV[at], ARGV[at + 1], tonumber(ARGV[4]), tonumber(ARGV[5]))
    at = at + 2
  end
  redis.call('LPOP', processing, size)
  redis.call('SET', settled, ARGV[1])
end
local taken = {{}}
local function move(list) return redis.call('LMOVE', list, processing, 'LEFT', 'RIGHT') end
while #taken < wanted do
  -- One from the entry list first, so that a full list of our own does not starve who knows only that.
  local petition = #taken == 0 and move(entry) or move(own) or move(entry)
  if not petition then break end
  taken[#taken + 1] = petition
end
return taken
"""
)
