#!lua flags=no-writes
-- Looks at the ends of what waits: what no worker has taken, and what is set aside, apart from the rest.
-- KEYS: inbox   ARGV: consumer group, what the names of holders begin with
-- Returns the entries that are unread, the age of the oldest entry that is not set aside, how many are set aside, and
-- the age of the oldest of these; ages in milliseconds, 0 without one.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function field(flat, name)
  for i = 1, #flat, 2 do
    if flat[i] == name then return flat[i + 1] end
  end
end

local function age(id)
  return math.max(0, now - tonumber(string.match(id, '^%d+')))
end

local last, pending = '-', 0
for _, group in ipairs(redis.pcall('XINFO', 'GROUPS', KEYS[1])) do
  if field(group, 'name') == ARGV[1] then
    last, pending = '(' .. field(group, 'last-delivered-id'), field(group, 'pending')
  end
end

local unread = redis.call('XLEN', KEYS[1]) - pending
local waiting, held, longest = 0, 0, 0
local first = unread > 0 and redis.call('XRANGE', KEYS[1], last, '+', 'COUNT', 1)[1]
if first then waiting = age(first[1]) end

if pending > 0 then
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local name, count = field(consumer, 'name'), field(consumer, 'pending')
    if count > 0 then
      local oldest = age(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, name)[1][1])
      if string.sub(name, 1, #ARGV[2]) == ARGV[2] then
        held, longest = held + count, math.max(longest, oldest)
      else
        waiting = math.max(waiting, oldest)
      end
    end
  end
end
return {unread, waiting, held, longest}
