-- Hold the broadcast, or go on holding it.
-- KEYS: namespace and colon. ARGV: owner, lease in seconds.
-- Returns the epoch and the seconds since the last tick (empty: there was none), or nothing if another holds it.
-- needs: broadcaster epoch

local ns, time = KEYS[1], now()
local epoch, owner = broadcaster(ns, time)
if owner and owner ~= ARGV[1] then return false end
epoch = epoch or next_epoch(ns)
hold(ns .. 'broadcaster', {epoch .. ' ' .. ARGV[1]}, time, tonumber(ARGV[2]))
local ticked = string.match(redis.call('GET', ns .. 'ticks:at') or '', '^%S+')
return {tostring(epoch), ticked and tostring(math.max(0, time - tonumber(ticked))) or ''}
