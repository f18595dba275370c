-- Put results on the result list, also in a full Redis, and take the oldest texts that wait: one step for a batch.
-- KEYS: namespace and colon. ARGV: how many to take, lease in seconds, owner, failures at most, time to live of ids,
-- how many results are kept and how long. Then of each result: petition id, filtered text, and the epoch under which
-- its text was taken.
-- Returns two lists: for each result as complete.lua; and of each taken text its petition id, the text and the epoch.
-- needs: work_list finish

local FIRST = 8
local ns, wanted, time, seconds = KEYS[1], tonumber(ARGV[1]), now(), tonumber(ARGV[2])

local function settle()
  local id_ttl, result_ttl, settled = tonumber(ARGV[5]), tonumber(ARGV[7]), {}
  local former = time - math.min(id_ttl, result_ttl)
  go_on_if_full(ns)
  correct_results(ns, time)
  for at = FIRST, #ARGV, 3 do
    local petition, text, epoch = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    settled[#settled + 1] = is_fenced(ns, petition, epoch) and 0 or finish(ns, petition, text, time, former, '')
  end
  trim_results(ns, tonumber(ARGV[6]), time - result_ttl, #settled)
  return settled
end

local settled = {}
if #ARGV >= FIRST then settled = settle() else hear_results(ns, time) end
if wanted == 0 then return {settled, {}} end
give_back_ended(ns, time, seconds, tonumber(ARGV[4]))
return {settled, take(ns, time, seconds, ARGV[3], wanted)}
