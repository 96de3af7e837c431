-- The rows above these ids, without those that are named: of each table at most `page`, in the order of their ids.
-- `age` counts transactions: rows of a later one are younger.
(SELECT 'message' AS kind, id, age(xmin) AS age, callback_id, received_at, source, provider, message_id, channel,
    sender, recipient, text, intent, NULL AS status, NULL AS error_code, NULL AS reason, NULL AS detail, traffic, test
FROM inbound_messages
WHERE id > %(messages)s AND id <> ALL (%(seen_messages)s::bigint[]) AND (%(source)s::text IS NULL OR source = %(source)s)
ORDER BY id LIMIT %(page)s)
UNION ALL
(SELECT 'report', id, age(xmin), callback_id, received_at, source, provider, message_id, channel, sender, recipient,
    NULL, NULL, status, error_code, reason, NULL, traffic, test
FROM delivery_reports
WHERE id > %(reports)s AND id <> ALL (%(seen_reports)s::bigint[]) AND (%(source)s::text IS NULL OR source = %(source)s)
ORDER BY id LIMIT %(page)s)
UNION ALL
(SELECT 'dead_letter', id, age(xmin), callback_id, created_at, source, provider, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, reason, detail, NULL, NULL
FROM dead_letters
WHERE id > %(dead_letters)s AND id <> ALL (%(seen_dead_letters)s::bigint[])
    AND (%(source)s::text IS NULL OR source = %(source)s)
ORDER BY id LIMIT %(page)s)
