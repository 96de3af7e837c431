-- Callbacks that repeat the key of an event stored before with another content, the newest first.
SELECT inbox_id, id, source, provider, received_at, method, query, headers, body
FROM callbacks
WHERE conflict
    AND (%(source)s::text IS NULL OR source = %(source)s)
    AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
ORDER BY received_at DESC, id DESC
LIMIT %(limit)s
