#!lua flags=allow-oom
-- Deletes a consumer that has nothing pending: deleting one that has would orphan its entries forever.
-- KEYS: inbox, marks   ARGV: consumer group, consumer
redis.call('HDEL', KEYS[2], ARGV[2])
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if #pending == 0 then
  return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return -1
