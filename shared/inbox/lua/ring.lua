-- Rings the doorbell if no ring is waiting.
-- KEYS: Celery's queue   ARGV: doorbell
if redis.call('LLEN', KEYS[1]) == 0 then return redis.call('LPUSH', KEYS[1], ARGV[1]) end
return 0
