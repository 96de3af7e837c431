#!lua flags=allow-oom
-- Writes one small field of a hash, also on a full Redis: without it a drain could not go on, and make room.
-- KEYS: hash   ARGV: HSET or HSETNX, field, value
return redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3])
