-- Callbacks that repeat the key of an event stored before with another content, the newest first.
SELECT id, inbox_id, source, provider, received_at, method, query, headers, body, host(remote_ip) AS remote_ip,
    outcome, conflict, test
FROM callbacks
WHERE conflict
    AND (%(source)s::text IS NULL OR source = %(source)s)
    AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
ORDER BY received_at DESC, id DESC
LIMIT %(limit)s
