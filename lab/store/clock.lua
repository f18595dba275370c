-- Redis's own clock, so that all nodes go by the same one.

-- Return the seconds since 1970. The clock may jump, so no stored time is believed unchecked.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- Let a script go on although Redis is full. Redis refuses a script at its first write, if that may take memory.
-- For steps that free memory, or that keep a promise already made.
local function go_on_if_full(ns)
  redis.call('DEL', ns .. 'never')
end
