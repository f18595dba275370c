-- Settle a batch and take the next, in one step.
-- KEYS: entry list. ARGV: namespace and colon, node, turn of the batch, its size, its deaths, how many to
-- take, 0 to take from the own list only, how many results are kept and how long, time to live of ids, numbers of
-- replies and of dead letters, then pairs of reply list and reply, dead letters, and of each result: petition id,
-- filtered text, the digest of the text, and its place in the batch.
-- A batch is settled once: a repeated turn, after a connection broke, only takes, and so does one that comes late, when
-- a later turn is settled. What such a one took is told first.
-- Returns the deaths of what was taken, the number of results refused because their id is that of another
-- text, and the petitions. Or -1 to a node that is no member any more: its batch is another's, nothing is settled.
-- needs: members finish

local REPLY_TTL_SECONDS = 60
local KEPT_DEAD_LETTERS = 1000
local MAX_REQUEST_BYTES = 1048576
local REUSED = 'its id was used for another text, which has a result; give each petition its own'

local ns, node = ARGV[1], ARGV[2]
local own = entry .. ':node:' .. node
local processing, settled = own .. ':processing', own .. ':settled'
local size, wanted, is_ready = tonumber(ARGV[4]), tonumber(ARGV[6]), ARGV[7] ~= '0'
go_on_if_full(ns)
if not is_member(node) then return {-1} end

local function reply(at, count)
  local replied = {}
  for _ = 1, count do
    redis.pcall('RPUSH', ARGV[at], ARGV[at + 1])
    replied[ARGV[at]] = true
    at = at + 2
  end
  for list in pairs(replied) do redis.pcall('EXPIRE', list, REPLY_TTL_SECONDS) end
  return at
end

local function put_aside(letter)
  redis.call('RPUSH', entry .. ':dead', letter)
  redis.call('LTRIM', entry .. ':dead', -KEPT_DEAD_LETTERS, -1)
end

-- The id of a petition has another result already: put it aside.
local function refuse(at, time)
  local petition = redis.call('LINDEX', processing, ARGV[at])
  local letter = {error_id = string.sub(redis.sha1hex(petition .. time), 1, 12), reason = REUSED,
    deliveries = tonumber(ARGV[5]), time = math.floor(time), petition = petition}
  put_aside(cjson.encode(letter))
end

-- Return how many were refused.
local function keep_results(at)
  if at >= #ARGV then return 0 end
  local time, most, result_ttl, id_ttl = now(), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
  local refused, added, former, bodies = 0, 0, time - math.min(id_ttl, result_ttl), {}
  correct_results(ns, time)
  while at < #ARGV do
    local kept = finish(ns, ARGV[at], ARGV[at + 1], time, former, ARGV[at + 2])
    if kept == 1 then
      added = added + 1
      bodies[2 * added - 1], bodies[2 * added] = ARGV[at], ARGV[at + 2]
    elseif kept == -1 then
      refused = refused + 1
      refuse(at + 3, time)
    end
    at = at + 4
  end
  keep_bodies(ns, bodies)
  trim_results(ns, most, time - result_ttl, added)
  return refused
end

local refused = 0
if size > 0 and tonumber(redis.call('GET', settled) or -1) < tonumber(ARGV[3]) then
  local at, count = reply(13, tonumber(ARGV[11])), tonumber(ARGV[12])
  for letter = at, at + count - 1 do put_aside(ARGV[letter]) end
  refused = keep_results(at + count)
  redis.call('LPOP', processing, size)
  redis.call('SET', settled, ARGV[3])
  if ARGV[5] ~= '0' then redis.call('DEL', retrying) end
end
if wanted == 0 then return {0, refused} end
if size == 0 then hear_results(ns, now()) end
if redis.call('LLEN', processing) > 0 then
  local left = redis.call('LRANGE', processing, 0, -1)
  if redis.call('GET', retrying) == node then
    local deaths, petition = counted(left[1])
    return {deaths, refused, petition}
  end
  return {0, refused, unpack(left)}
end
-- A petition of the retry list is a batch by itself, and no other node has one meanwhile: it ends one node at a time.
if is_ready and redis.call('LLEN', retry) > 0 then
  local holder = redis.call('GET', retrying)
  if not holder or not is_member(holder) then
    redis.call('SET', retrying, node)
    local deaths, petition = counted(redis.call('LMOVE', retry, processing, 'LEFT', 'RIGHT'))
    return {deaths, refused, petition}
  end
end
local taken, bytes = {0, refused}, 0
local function take(list, count)
  while count > 0 and #taken < wanted + 2 and bytes < MAX_REQUEST_BYTES do
    local petition = redis.call('LMOVE', list, processing, 'LEFT', 'RIGHT')
    if not petition then return end
    taken[#taken + 1] = petition
    bytes = bytes + #petition
    count = count - 1
  end
end
-- One from the entry list first: a full list of its own must not keep the node from those that know only that.
if is_ready then take(entry, 1) end
take(own, wanted)
if is_ready then take(entry, wanted) end
return taken
