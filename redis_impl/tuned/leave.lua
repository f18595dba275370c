-- Leave at once, and let the others go on with what is left, the worked on first. Nobody is to blame. The last node
-- that leaves forgets the dead as well.
-- KEYS: entry list. ARGV: node.
-- needs: empty

go_on_if_full(entry)
empty(ARGV[1], false, math.huge)
redis.call('ZREM', members, ARGV[1])
if redis.call('ZCOUNT', members, '(0', '+inf') == 0 then
  for _, dead in ipairs(redis.call('ZRANGE', members, 0, -1)) do empty(dead, true, math.huge) end
  redis.call('DEL', members, entry .. ':pulsed')
end
