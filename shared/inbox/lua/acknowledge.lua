#!lua flags=allow-oom
-- Takes stored callbacks out of the inbox and counts what became of them, each entry once however often it is sent.
-- KEYS: inbox, ledger, oddities, kinds of oddities by source
-- ARGV: consumer group, most kinds of oddities of one source, the kind that counts all others, then entry, source,
--   outcome, oddities (one a line) and the number of its other oddities in turn
-- allow-oom, because this is what makes room in a full Redis.
local most, others = tonumber(ARGV[2]), ARGV[3]
local counts, odd = {}, {}
local done = 0
for i = 4, #ARGV, 5 do
  local source = ARGV[i + 1]
  if redis.call('XACK', KEYS[1], ARGV[1], ARGV[i]) == 1 then
    redis.call('XDEL', KEYS[1], ARGV[i])
    local field = source .. ':' .. ARGV[i + 2]
    counts[field] = (counts[field] or 0) + 1
    local phrases = odd[source] or {}
    for oddity in string.gmatch(ARGV[i + 3], '[^\n]+') do
      phrases[oddity] = (phrases[oddity] or 0) + 1
    end
    if ARGV[i + 4] ~= '0' then phrases[others] = (phrases[others] or 0) + tonumber(ARGV[i + 4]) end
    if next(phrases) then odd[source] = phrases end
    done = done + 1
  end
end
for field, count in pairs(counts) do
  redis.call('HINCRBY', KEYS[2], field, count)
end
if next(odd) and redis.call('EXISTS', KEYS[3], KEYS[4]) < 2 then
  -- The kinds were never counted, or the oddities were deleted: count the kinds that there are.
  redis.call('DEL', KEYS[4])
  for _, field in ipairs(redis.call('HKEYS', KEYS[3])) do
    redis.call('HINCRBY', KEYS[4], string.match(field, '^[^:]*'), 1)
  end
end
for source, phrases in pairs(odd) do
  local kinds = tonumber(redis.call('HGET', KEYS[4], source) or '0')
  local before = kinds
  local beyond = phrases[others] or 0
  phrases[others] = nil
  for oddity, count in pairs(phrases) do
    local field = source .. ':' .. oddity
    if redis.call('HEXISTS', KEYS[3], field) == 1 then
      redis.call('HINCRBY', KEYS[3], field, count)
    elseif kinds < most then
      redis.call('HSET', KEYS[3], field, count)
      kinds = kinds + 1
    else
      beyond = beyond + count
    end
  end
  if kinds > before then redis.call('HSET', KEYS[4], source, kinds) end
  if beyond > 0 then redis.call('HINCRBY', KEYS[3], source .. ':' .. others, beyond) end
end
return done
