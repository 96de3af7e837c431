#!lua flags=allow-oom
-- Makes entries pending that were delivered once and are pending no more although they still stand in the inbox.
-- KEYS: inbox   ARGV: consumer group, where to begin, as XRANGE takes it
-- Returns where the next stretch begins (false at the end), and how many were mended.
local last
for _, group in ipairs(redis.pcall('XINFO', 'GROUPS', KEYS[1])) do
  local its = {}
  for i = 1, #group, 2 do its[group[i]] = group[i + 1] end
  if its['name'] == ARGV[1] then
    last = its['last-delivered-id']
    -- The usual case, told by three numbers: whatever is not unread is pending.
    if its['lag'] and redis.call('XLEN', KEYS[1]) == its['lag'] + its['pending'] then return {false, 0} end
  end
end
if not last then return {false, 0} end
local entries = redis.call('XRANGE', KEYS[1], ARGV[2], last, 'COUNT', 500)
local mended = 0
for _, entry in ipairs(entries) do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1) == 0 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], 'mended', 0, entry[1], 'IDLE', 3600000, 'FORCE', 'JUSTID')
    mended = mended + 1
  end
end
local next = #entries == 500 and '(' .. entries[#entries][1]
return {next, mended}
