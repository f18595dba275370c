-- Who holds the broadcast: the one member, "epoch owner", of the sorted set ``broadcaster``.
-- needs: leases

-- Return the epoch and the owner that hold the broadcast now, or nothing.
local function broadcaster(ns, time)
  local set = ns .. 'broadcaster'
  local holder = redis.call('ZRANGE', set, 0, 0)[1]
  if not holder then return end
  local length = redis.call('HGET', set .. ':lengths', holder) or 0
  for _, gone in ipairs(ended(set, time, math.abs(tonumber(length)))) do let_go(set, gone) end
  if redis.call('ZSCORE', set, holder) then return string.match(holder, '^(%d+) (.*)$') end
end
