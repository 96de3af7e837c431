#!lua flags=allow-oom
-- Sets entries of a source aside, pending under the name of its holder, if the source is held: a hold may have ended
-- since the worker read it, and no trial would ever come for them.
-- KEYS: inbox, holds   ARGV: consumer group, holder, the source's field in holds, then entry and deliveries in turn
if redis.call('HEXISTS', KEYS[2], ARGV[3]) == 0 then return 0 end
for i = 4, #ARGV, 2 do
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', 0, 'RETRYCOUNT', ARGV[i + 1], 'JUSTID')
end
return 1
