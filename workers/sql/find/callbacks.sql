-- Callbacks whose ids lie between two ids, the newest first. An id holds the millisecond of received_at, the first
-- column of the key.
SELECT id, received_at, source, provider, outcome, conflict, test
FROM callbacks
WHERE received_at >= %(from)s AND received_at < %(to)s AND id BETWEEN %(first)s AND %(last)s
ORDER BY received_at DESC, id DESC
LIMIT %(limit)s
