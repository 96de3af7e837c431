-- How many callbacks have open dead letters that match: the filters of matching.sql.
SELECT count(DISTINCT callback_id)
FROM dead_letters
WHERE state = 'open'
    AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))
    AND (%(source)s::text IS NULL OR source = %(source)s)
    AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
