-- Put the filtered text of a petition on the result list, also in a full Redis: its text goes from the work list.
-- KEYS: namespace and colon. ARGV: petition id, filtered text, id of the ``resolve`` that asked for it or nothing,
-- time to live of ids, how many results are kept and how long, the epoch under which the text was taken or 0,
-- the digest of the text or nothing.
-- Returns 1, 0 if the petition has its result already or another has taken its text, -1 if it was of another text.
-- needs: finish

local ns, petition, time = KEYS[1], ARGV[1], now()
local id_ttl, result_ttl = tonumber(ARGV[4]), tonumber(ARGV[6])
go_on_if_full(ns)
if is_fenced(ns, petition, ARGV[7]) then return 0 end
correct_results(ns, time)
local is_new = finish(ns, petition, ARGV[2], time, time - math.min(id_ttl, result_ttl), ARGV[8])
if is_new == 1 and ARGV[8] ~= '' then keep_bodies(ns, {petition, ARGV[8]}) end
if ARGV[3] ~= '' and is_new >= 0 then
  redis.call('SET', ns .. 'op:resolve:' .. ARGV[3], cjson.encode({petition, ARGV[2]}), 'EX', id_ttl)
end
trim_results(ns, tonumber(ARGV[5]), time - result_ttl, 1)
return is_new
