-- Count a tick.
-- KEYS: namespace and colon. ARGV: the epoch under which the caller holds the broadcast, or 0 to count in any case.
-- Returns the tick's number, or 0 if nobody holds the broadcast under that epoch.
-- needs: broadcaster

local ns, time = KEYS[1], now()
if ARGV[1] ~= '0' and ARGV[1] ~= broadcaster(ns, time) then return 0 end
redis.call('SET', ns .. 'ticks:at', time)
return redis.call('INCR', ns .. 'ticks')
