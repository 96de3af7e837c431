-- The dead letters of callbacks, the newest first.
SELECT id, callback_id, item, source, provider, stage, reason, detail, created_at, attempts, state
FROM dead_letters
WHERE callback_id = ANY (%(ids)s::uuid[])
ORDER BY id DESC
