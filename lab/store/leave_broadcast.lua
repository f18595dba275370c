-- Let another hold the broadcast at once.
-- KEYS: namespace and colon. ARGV: who leaves it, if it holds it.
-- needs: broadcaster

local epoch, owner = broadcaster(KEYS[1], now())
if owner == ARGV[1] then let_go(KEYS[1] .. 'broadcaster', epoch .. ' ' .. owner) end
