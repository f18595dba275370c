-- Return the newest results as id, text, id, text ..., the newest first.
-- KEYS: namespace and colon. ARGV: how many, time to live of results, bytes after which no more are needed.
-- needs: results

local AT_ONCE = 50
local ns, time, bytes, found = KEYS[1], now(), 0, {}
correct_results(ns, time)
local oldest = string.format('(%.6f', time - tonumber(ARGV[2]))
local ids = redis.call('ZREVRANGEBYSCORE', ns .. 'results:order', '+inf', oldest, 'LIMIT', 0, ARGV[1])
for first = 1, #ids, AT_ONCE do
  local last = math.min(first + AT_ONCE - 1, #ids)
  for at, text in ipairs(redis.call('HMGET', ns .. 'results', unpack(ids, first, last))) do
    if text then
      found[#found + 1], found[#found + 2] = ids[first + at - 1], text
      bytes = bytes + #text
    end
  end
  if bytes > tonumber(ARGV[3]) then break end
end
return found
