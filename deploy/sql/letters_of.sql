-- The dead letters of one callback.
SELECT id, item, stage, reason, detail, state, attempts, created_at
FROM dead_letters
WHERE callback_id = %(id)s
ORDER BY item
