#!lua flags=allow-oom
-- Moves replayed callbacks from one outcome to another in the ledger, each replay once however often it is sent.
-- KEYS: ledger, replays moved   ARGV: replay, source, outcome before and outcome after in turn
-- A ledger younger than the callback (Redis was replaced) never counted it: there is nothing to move then.
local moved = 0
for i = 1, #ARGV, 4 do
  if redis.call('SADD', KEYS[2], ARGV[i]) == 1 then
    local before = ARGV[i + 1] .. ':' .. ARGV[i + 2]
    if tonumber(redis.call('HGET', KEYS[1], before) or '0') > 0 then
      redis.call('HINCRBY', KEYS[1], before, -1)
      redis.call('HINCRBY', KEYS[1], ARGV[i + 1] .. ':' .. ARGV[i + 3], 1)
      moved = moved + 1
    end
  end
end
return moved
