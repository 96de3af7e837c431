-- The open dead letters of a callback. Who has them locked is the only one to replay or discard them.
SELECT id, item, reason FROM dead_letters
WHERE callback_id = %(id)s AND state = 'open'
ORDER BY item
FOR UPDATE
