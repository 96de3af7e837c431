-- Dead letters, the newest first. A filter that is null lets everything through.
SELECT id, callback_id, item, source, provider, stage, reason, detail, created_at, attempts, state
FROM dead_letters
WHERE (%(id)s::bigint IS NULL OR id = %(id)s)
    AND (%(source)s::text IS NULL OR source = %(source)s)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
    AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY id DESC
LIMIT %(limit)s
