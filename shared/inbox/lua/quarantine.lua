#!lua flags=allow-oom
-- Keeps refused requests within their bounds, and removes what was proven, is too old or takes too much room. What goes
-- first is the oldest request of the address that takes most, so that a flood pushes out little but itself.
-- KEYS: sizes of all sources, then for each source: its requests by id, their members by time, their members by address,
--   and the bytes that each address takes. A member is address, id and bytes, between blanks.
-- ARGV: most requests of a source, most bytes of a source, seconds for which a request is kept, share of maxmemory that
--   all sources may take, bytes that they may take without a maxmemory, share of maxmemory beyond which nothing is kept,
--   bytes that a request takes beside its own, most requests to remove, number of sources, their names, number of
--   requests to remove, of each the number of its source and its member, then of each request to keep the number of its
--   source, its id, its address and itself
-- Returns 1 if there was more to remove than it may, else 0; then source, what became of requests, and how many in turn.
-- allow-oom, because old requests must go from a full Redis too; it keeps nothing there.
local most_requests, most_bytes, seconds = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local beside, left = tonumber(ARGV[7]), tonumber(ARGV[8])
local sources, counts, bytes_of_all = {}, {}, 0

local function note(source, what)
  local key = source.name .. '\n' .. what
  counts[key] = (counts[key] or 0) + 1
end

local function remove(source, member, why)
  redis.call('ZREM', source.order, member)
  if redis.call('ZREM', source.times, member) == 0 then return end
  local address, id, bytes = string.match(member, '^(%S*) (%S+) (%d+)$')
  redis.call('HDEL', source.requests, id)
  if tonumber(redis.call('ZINCRBY', source.shares, -bytes, address)) <= 0 then
    redis.call('ZREM', source.shares, address)
  end
  source.count, source.bytes, bytes_of_all = source.count - 1, source.bytes - bytes, bytes_of_all - bytes
  left = left - 1
  note(source, why)
end

local function make_room(source, why)
  local address = redis.call('ZREVRANGE', source.shares, 0, 0)[1]
  local found = address and
    redis.call('ZRANGEBYLEX', source.order, '[' .. address .. ' ', '(' .. address .. '!', 'LIMIT', 0, 1)
  if not found or #found == 0 then found = redis.call('ZRANGE', source.times, 0, 0) end
  remove(source, found[1], why)
end

local function limit(source)
  while left > 0 and source.count > 0 and (source.count > most_requests or source.bytes > most_bytes) do
    make_room(source, 'room')
  end
end

local function largest()
  local found = sources[1]
  for _, source in ipairs(sources) do
    if source.bytes > found.bytes then found = source end
  end
  return found
end

-- What there is
local sizes = redis.call('HGETALL', KEYS[1])
local recorded = {}
for i = 1, #sizes, 2 do
  recorded[sizes[i]] = tonumber(sizes[i + 1])
  if string.match(sizes[i], ':bytes$') then bytes_of_all = bytes_of_all + recorded[sizes[i]] end
end
for i = 1, tonumber(ARGV[9]) do
  local key = 4 * i - 2
  local source = {
    name = ARGV[9 + i], requests = KEYS[key], times = KEYS[key + 1], order = KEYS[key + 2], shares = KEYS[key + 3]
  }
  source.count = redis.call('ZCARD', source.times)
  source.bytes = recorded[source.name .. ':bytes'] or 0
  if source.count == 0 then -- they have expired, or a foreign hand took them
    bytes_of_all = bytes_of_all - source.bytes
    source.bytes = 0
    redis.call('DEL', source.requests, source.order, source.shares)
  end
  sources[i] = source
end

-- What it may be
local memory = redis.call('INFO', 'memory')
local maxmemory = tonumber(string.match(memory, '\nmaxmemory:(%d+)') or '0')
local used = tonumber(string.match(memory, '\nused_memory:(%d+)') or '0')
local is_full = maxmemory > 0 and used > maxmemory * tonumber(ARGV[6])
local most_of_all = maxmemory > 0 and maxmemory * tonumber(ARGV[4]) or tonumber(ARGV[5])

-- What goes
local next = 10 + #sources
for _ = 1, tonumber(ARGV[next]) do
  remove(sources[tonumber(ARGV[next + 1])], ARGV[next + 2], 'proven')
  next = next + 2
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, source in ipairs(sources) do
  local old = redis.call('ZRANGEBYSCORE', source.times, '-inf', now - seconds * 1000, 'LIMIT', 0, math.max(left, 0))
  for _, member in ipairs(old) do remove(source, member, 'age') end
  limit(source)
end

-- What comes
local added = {}
for i = next + 1, #ARGV, 4 do
  local source, id, address, request = sources[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local bytes = #request + beside
  if is_full then
    note(source, 'memory')
  elseif left <= 0 or most_requests == 0 or bytes > most_bytes or bytes > most_of_all then
    note(source, 'room')
  elseif redis.call('HSETNX', source.requests, id, request) == 1 then
    local member = address .. ' ' .. id .. ' ' .. bytes
    redis.call('ZADD', source.times, now, member)
    redis.call('ZADD', source.order, 0, member)
    redis.call('ZINCRBY', source.shares, bytes, address)
    source.count, source.bytes, bytes_of_all = source.count + 1, source.bytes + bytes, bytes_of_all + bytes
    added[source] = true
    note(source, 'kept')
    limit(source)
  end
end
while left > 0 and bytes_of_all > most_of_all and largest().count > 0 do make_room(largest(), 'memory') end

for _, source in ipairs(sources) do
  if source.count == 0 then
    redis.call('HDEL', KEYS[1], source.name .. ':requests', source.name .. ':bytes')
  else
    redis.call('HSET', KEYS[1], source.name .. ':requests', source.count, source.name .. ':bytes', source.bytes)
  end
  if added[source] then -- should no ingress be left to remove them
    for _, key in ipairs({source.requests, source.times, source.order, source.shares}) do
      redis.call('EXPIRE', key, ARGV[3])
    end
  end
end
local answer = {left <= 0 and 1 or 0}
for key, count in pairs(counts) do
  local name, what = string.match(key, '^(.*)\n(.*)$')
  answer[#answer + 1] = name
  answer[#answer + 1] = what
  answer[#answer + 1] = count
end
return answer
