-- Remove a subscriber.
-- KEYS: namespace and colon. ARGV: URI. Returns 1 if it was there, else 0.
-- needs: leases

return let_go(KEYS[1] .. 'subscribers', ARGV[1])
