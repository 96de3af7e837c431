#!lua flags=allow-oom
-- Takes stored callbacks out of the inbox and counts what became of them, each entry once however often it is sent.
-- KEYS: inbox, ledger
-- ARGV: consumer group, then entry, source and outcome in turn
-- allow-oom, because this is what makes room in a full Redis.
local counts = {}
local done = 0
for i = 2, #ARGV, 3 do
  if redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 1 then
    redis.call('XDEL', KEYS[1], ARGV[i])
    local field = ARGV[i + 1] .. ':' .. ARGV[i + 2]
    counts[field] = (counts[field] or 0) + 1
    done = done + 1
  end
end
for field, count in pairs(counts) do
  redis.call('HINCRBY', KEYS[2], field, count)
end
return done
