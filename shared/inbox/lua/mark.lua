#!lua flags=allow-oom
-- Notes when a worker was last active, in milliseconds of the clock of Redis; also on a full Redis.
-- KEYS: marks   ARGV: consumer
local time = redis.call('TIME')
return redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000)))
