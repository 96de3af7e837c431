#!lua flags=allow-oom
-- Counts replayed callbacks under another outcome in the ledger, each replay once however often it is sent.
-- KEYS: ledger, replays that were counted, changes by outcome
-- ARGV: replay, source, outcome before, outcome after, and what other shards count of the one before, in turn
-- A ledger younger than the callback (Redis was replaced) never counted it: then there is nothing to change.
local changed = 0
for i = 1, #ARGV, 5 do
  if redis.call('SADD', KEYS[2], ARGV[i]) == 1 then
    local before = ARGV[i + 1] .. ':' .. ARGV[i + 2]
    if tonumber(redis.call('HGET', KEYS[1], before) or '0') + tonumber(ARGV[i + 4]) > 0 then
      redis.call('HINCRBY', KEYS[1], before, -1)
      redis.call('HINCRBY', KEYS[1], ARGV[i + 1] .. ':' .. ARGV[i + 3], 1)
      redis.call('HINCRBY', KEYS[3], ARGV[i + 1] .. ':from:' .. ARGV[i + 2], 1)
      redis.call('HINCRBY', KEYS[3], ARGV[i + 1] .. ':to:' .. ARGV[i + 3], 1)
      changed = changed + 1
    end
  end
end
return changed
