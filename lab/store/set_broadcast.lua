-- Turn the broadcast on or off.
-- KEYS: namespace and colon. ARGV: 1 or 0, operation id, time to live of ids.
-- Returns 1 if that changed something, else 0.
-- needs: once

local ns, on = KEYS[1], ARGV[1]
return once(ns, 'broadcast' .. on, ARGV[2], '', ARGV[3], function()
  local before = redis.call('GET', ns .. 'broadcast') or '0'
  redis.call('SET', ns .. 'broadcast', on)
  return before == on and 0 or 1
end)
