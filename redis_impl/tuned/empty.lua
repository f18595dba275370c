-- Empty the lists of a node that is gone.
-- needs: members

-- Give what a node left to the others, at most so many of those that wait; return how many. What it worked on may
-- have killed it: if *is_blamed* that goes to the retry list, with one more death.
local function empty(node, is_blamed, most)
  local list = entry .. ':node:' .. node
  local processing = list .. ':processing'
  local moved, is_retried = 0, redis.call('GET', retrying) == node
  if is_retried then redis.call('DEL', retrying) end
  while true do
    local item
    if is_blamed then
      item = redis.call('LPOP', processing)
      if item then
        local deliveries, petition = 0, item
        if is_retried then deliveries, petition = counted(item) end
        redis.call('RPUSH', retry, (deliveries + 1) .. ' ' .. petition)
      end
    else
      item = redis.call('LMOVE', processing, is_retried and retry or entry, 'RIGHT', 'LEFT')
    end
    if not item then break end
    moved = moved + 1
  end
  while moved < most and redis.call('LMOVE', list, entry, 'RIGHT', 'LEFT') do moved = moved + 1 end
  redis.call('ZREM', nodes, node)
  redis.call('DEL', list .. ':settled')
  return moved
end
