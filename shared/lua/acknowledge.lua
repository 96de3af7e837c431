#!lua flags=allow-oom
-- Takes stored callbacks out of the inbox and counts what became of them, each entry once however often it is sent.
-- KEYS: inbox, ledger, oddities
-- ARGV: consumer group, most kinds of oddities to count, then entry, source, outcome and oddities (one a line) in turn
-- allow-oom, because this is what makes room in a full Redis.
local counts, odd = {}, {}
local done = 0
for i = 3, #ARGV, 4 do
  if redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 1 then
    redis.call('XDEL', KEYS[1], ARGV[i])
    local field = ARGV[i + 1] .. ':' .. ARGV[i + 2]
    counts[field] = (counts[field] or 0) + 1
    for oddity in string.gmatch(ARGV[i + 3], '[^\n]+') do
      local its = ARGV[i + 1] .. ':' .. oddity
      odd[its] = (odd[its] or 0) + 1
    end
    done = done + 1
  end
end
for field, count in pairs(counts) do
  redis.call('HINCRBY', KEYS[2], field, count)
end
for field, count in pairs(odd) do
  if redis.call('HLEN', KEYS[3]) < tonumber(ARGV[2]) or redis.call('HEXISTS', KEYS[3], field) == 1 then
    redis.call('HINCRBY', KEYS[3], field, count)
  end
end
return done
