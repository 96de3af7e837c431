-- Appends a group of callbacks to the inbox and counts them: all or none. With no callbacks it only checks whether one
-- would be taken.
-- KEYS: inbox, ledger, when the latest callback of each source came (Unix milliseconds), what exists once the shard
--   takes no more, what counts all that this writer appended
-- ARGV: most entries the inbox may hold, share of maxmemory it may use, seconds for which the count of a writer that
--   appends nothing is kept, then source and callback in turn
-- Returns the count of the writer: less than it has appended when Redis went back to a state before.
-- Refuses with FULL before it writes anything, so that the drain and Celery always have room left to work.
local first = 4
local count = (#ARGV - first + 1) / 2

if redis.call('EXISTS', KEYS[4]) == 1 then
  return redis.error_reply('FULL this shard of the inbox is retired')
end
if redis.call('XLEN', KEYS[1]) + math.max(count, 1) > tonumber(ARGV[1]) then
  return redis.error_reply('FULL the inbox holds as many callbacks as it may')
end

local memory = redis.pcall('INFO', 'memory')
if type(memory) == 'string' then
  local most = tonumber(string.match(memory, '\nmaxmemory:(%d+)'))
  local used = tonumber(string.match(memory, '\nused_memory:(%d+)'))
  if most and used and most > 0 and used > most * tonumber(ARGV[2]) then
    return redis.error_reply('FULL Redis has no memory left for callbacks')
  end
end

local counts, id = {}
for i = first, #ARGV, 2 do
  id = redis.call('XADD', KEYS[1], '*', 's', ARGV[i], 'c', ARGV[i + 1])
  counts[ARGV[i]] = (counts[ARGV[i]] or 0) + 1
end
if count == 0 then return 0 end
local now, heard = string.match(id, '^%d+'), {}
for source, appended in pairs(counts) do
  redis.call('HINCRBY', KEYS[2], source .. ':appended', appended)
  heard[#heard + 1] = source
  heard[#heard + 1] = now
  if #heard == 1000 then -- a call takes some thousand arguments
    redis.call('HSET', KEYS[3], unpack(heard))
    heard = {}
  end
end
if #heard > 0 then redis.call('HSET', KEYS[3], unpack(heard)) end
local total = redis.call('INCRBY', KEYS[5], count)
redis.call('EXPIRE', KEYS[5], ARGV[3])
return total
