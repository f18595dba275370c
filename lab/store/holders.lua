-- Who holds a text of the work list.

-- Return the epoch of the holder of a text, how often a lease of the text ran out, and the holder's name.
local function holder_of(ns, petition)
  local holder = redis.call('HGET', ns .. 'holders', petition)
  if not holder then return '', 0, '' end
  local epoch, failures, owner = string.match(holder, '^(%d+) (%d+) (.*)$')
  return epoch, tonumber(failures), owner
end
