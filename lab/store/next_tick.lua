-- Count a tick.
-- KEYS: namespace and colon. ARGV: the epoch under which the caller holds the broadcast, or 0 to count in any case.
-- Returns the tick's number, or 0 if nobody holds the broadcast under that epoch.
-- needs: broadcaster

local ns, time = KEYS[1], now()
if ARGV[1] ~= '0' and ARGV[1] ~= broadcaster(ns, time) then return 0 end
local number = redis.call('INCR', ns .. 'ticks')
if number == 1 then  -- the first, or the counter was deleted by hand: who listens drops numbers that came before
  local last = string.match(redis.call('GET', ns .. 'ticks:at') or '', ' (%d+)$')
  if last then number = redis.call('INCRBY', ns .. 'ticks', last) end
end
redis.call('SET', ns .. 'ticks:at', string.format('%.6f', time) .. ' ' .. number)
return number
