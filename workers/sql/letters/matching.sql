-- A page of the open dead letters that match, callback by callback. A filter that is null lets everything through.
SELECT id, callback_id, item, reason
FROM dead_letters
WHERE state = 'open'
    AND (callback_id, item) > (%(callback_id)s, %(item)s)
    AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))
    AND (%(source)s::text IS NULL OR source = %(source)s)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
ORDER BY callback_id, item
LIMIT %(page)s
