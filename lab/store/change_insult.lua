-- Add or remove an insult, and note that for the nodes that follow.
-- KEYS: namespace and colon. ARGV: + or -, insult, operation id, time to live of ids.
-- Returns 1 if that changed something, 0 if not, -1 if the id is that of another insult.
-- needs: once

local ns, sign, insult = KEYS[1], ARGV[1], ARGV[2]
local KEPT_CHANGES = 10000

return once(ns, sign == '+' and 'add' or 'remove', ARGV[3], insult, ARGV[4], function()
  local insults = ns .. 'insults'
  local changed = sign == '+' and redis.call('ZADD', insults, 0, insult) or redis.call('ZREM', insults, insult)
  if changed == 1 then
    redis.call('XADD', ns .. 'changes', 'MAXLEN', '~', KEPT_CHANGES, '*', sign, insult)
  end
  return changed
end)
