-- A page of the open dead letters that match, callback by callback.
SELECT id, callback_id, item, reason
FROM dead_letters_matching(%(ids)s::bigint[], NULL, %(source)s, %(reason)s, %(since)s, %(until)s, 'open')
WHERE (callback_id, item) > (%(callback_id)s::uuid, %(item)s::integer)
ORDER BY callback_id, item
LIMIT %(page)s
