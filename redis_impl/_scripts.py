"""The steps on lists that must be atomic, as Lua; effects on the store come from :mod:`lab.store.scripts`."""

from lab.limits import MAX_REQUEST_BYTES
from lab.store.scripts import EFFECTS

from ._leases import MEMBERS

REPLY_TTL_SECONDS = 60
KEPT_DEAD_LETTERS = 1000

# Push petitions (ARGV) to the lists of the live nodes, in turn; to the entry list if no node is live.
# KEYS: entry list, live nodes, turn. A node in ':nodes' is a member for at least as long (see PULSE), and
# whoever ends that gives its list to the others in the same step: no list is pushed to that nobody serves.
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

# Settle a batch and take the next, in one step. KEYS: entry list. ARGV: namespace, node, turn of the batch,
# its size, its deliveries in vain, how many to take, 0 to take from the own list only, limits of the results
# (2), numbers of replies and of dead letters, then pairs of reply list and reply, dead letters, and pairs of
# petition id and filtered text. A batch is settled once: a repeated turn, after a connection broke, only
# takes, as does one that comes late, when a later turn is settled; what such a one took is told first.
# Returns the deliveries in vain of what was taken and the petitions, or -1 to who is no member any more: its
# batch is another's, and nothing is settled.
SETTLE = (
    MEMBERS
    + f"""
local ns, node = ARGV[1], ARGV[2]
local own = entry .. ':node:' .. node
local processing, settled = own .. ':processing', own .. ':settled'
local size, wanted, is_ready = tonumber(ARGV[4]), tonumber(ARGV[6]), ARGV[7] ~= '0'
if not is_member(node) then return {{-1}} end
if size > 0 and tonumber(redis.call('GET', settled) or -1) < tonumber(ARGV[3]) then
  local at, replied = 12, {{}}
  for _ = 1, tonumber(ARGV[10]) do
    redis.pcall('RPUSH', ARGV[at], ARGV[at + 1])
    replied[ARGV[at]] = true
    at = at + 2
  end
  for list in pairs(replied) do redis.pcall('EXPIRE', list, {REPLY_TTL_SECONDS}) end
  for _ = 1, tonumber(ARGV[11]) do
    redis.call('RPUSH', entry .. ':dead', ARGV[at])
    redis.call('LTRIM', entry .. ':dead', -{KEPT_DEAD_LETTERS}, -1)
    at = at + 1
  end
  while at < #ARGV do
    complete(ns, ARGV[at], ARGV[at + 1], tonumber(ARGV[8]), tonumber(ARGV[9]))
    at = at + 2
  end
  redis.call('LPOP', processing, size)
  redis.call('SET', settled, ARGV[3])
  if ARGV[5] ~= '0' then redis.call('DEL', lane) end
end
if wanted == 0 then return {{0}} end
if redis.call('LLEN', processing) > 0 then
  local left = redis.call('LRANGE', processing, 0, -1)
  if redis.call('GET', lane) == node then return {{suspected(left[1])}} end
  return {{0, unpack(left)}}
end
-- A suspect is taken alone, and no other node has one meanwhile: what kills ends one node at a time.
if is_ready and redis.call('LLEN', suspects) > 0 then
  local holder = redis.call('GET', lane)
  if not holder or not is_member(holder) then
    redis.call('SET', lane, node)
    return {{suspected(redis.call('LMOVE', suspects, processing, 'LEFT', 'RIGHT'))}}
  end
end
local taken, bytes = {{0}}, 0
local function take(list, count)
  while count > 0 and #taken <= wanted and bytes < {MAX_REQUEST_BYTES} do
    local petition = redis.call('LMOVE', list, processing, 'LEFT', 'RIGHT')
    if not petition then return end
    taken[#taken + 1] = petition
    bytes = bytes + #petition
    count = count - 1
  end
end
-- One from the entry list first, so that a full list of our own does not starve who knows only that.
if is_ready then take(entry, 1) end
take(own, wanted)
if is_ready then take(entry, wanted) end
return taken
"""
)
