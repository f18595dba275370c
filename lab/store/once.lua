-- Operation ids: an effect and the record of its id are one step.

-- Return the recorded answer of an operation, or perform *effect* and record its answer, a number.
-- -1 where the id is that of another body, or where *effect* says so; that is not recorded.
local function once(ns, kind, id, body, ttl, effect)
  if id == '' then return effect() end
  local record = ns .. 'op:' .. kind .. ':' .. id
  local digest = string.sub(redis.sha1hex(body), 1, 16)
  local recorded = redis.call('GET', record)
  if recorded then
    -- The clock was set back: no record lives longer than its length.
    if redis.call('TTL', record) > tonumber(ttl) then redis.call('EXPIRE', record, ttl) end
    local answer, former = string.match(recorded, '^(%d+) (%x*)$')
    return former == digest and tonumber(answer) or -1
  end
  local answer = effect()
  if answer >= 0 then redis.call('SET', record, answer .. ' ' .. digest, 'EX', ttl) end
  return answer
end
