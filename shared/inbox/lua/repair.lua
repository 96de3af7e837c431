#!lua flags=allow-oom
-- Makes entries pending that were delivered once and are no longer pending although they are still in the inbox.
-- KEYS: inbox   ARGV: consumer group, where to begin, as XRANGE takes it
-- Returns where the next stretch begins (false at the end), and how many were repaired.
local last
for _, group in ipairs(redis.pcall('XINFO', 'GROUPS', KEYS[1])) do
  local info = {}
  for i = 1, #group, 2 do info[group[i]] = group[i + 1] end
  if info['name'] == ARGV[1] then
    last = info['last-delivered-id']
    -- The usual case, seen from three numbers: whatever is not unread is pending.
    if info['lag'] and redis.call('XLEN', KEYS[1]) == info['lag'] + info['pending'] then return {false, 0} end
  end
end
if not last then return {false, 0} end
local entries = redis.call('XRANGE', KEYS[1], ARGV[2], last, 'COUNT', 500)
local repaired = 0
for _, entry in ipairs(entries) do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1) == 0 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], 'repaired', 0, entry[1], 'IDLE', 3600000, 'FORCE', 'JUSTID')
    repaired = repaired + 1
  end
end
local next = #entries == 500 and '(' .. entries[#entries][1]
return {next, repaired}
