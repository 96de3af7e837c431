#!lua flags=no-writes
-- Counts the entries of each source in one stretch of the inbox.
-- KEYS: inbox   ARGV: where to begin, as XRANGE takes it
-- Returns where the next stretch begins (false at the end), and source, count and the id of the oldest in turn.
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 1000)
local counts, oldest, answer = {}, {}, {}
for _, entry in ipairs(entries) do
  local source = ''
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 's' then source = entry[2][i + 1] end
  end
  counts[source] = (counts[source] or 0) + 1
  oldest[source] = oldest[source] or entry[1]
end
for source, count in pairs(counts) do
  answer[#answer + 1] = source
  answer[#answer + 1] = count
  answer[#answer + 1] = oldest[source]
end
local next = #entries == 1000 and '(' .. entries[#entries][1]
return {next, answer}
