-- Epochs: numbers that only grow, also when their counter was deleted by hand.
-- needs: clock

local function next_epoch(ns)
  local epoch = redis.call('INCR', ns .. 'epoch')
  if epoch > 1 then return epoch end
  -- A new counter begins at the time, in tenths of milliseconds: above all that an earlier one gave.
  epoch = math.floor(now() * 10000)
  redis.call('SET', ns .. 'epoch', string.format('%.0f', epoch))
  return epoch
end
