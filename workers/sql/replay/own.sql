-- Which of these dedupe keys are those of events that a callback brought.
SELECT dedupe_key FROM inbound_messages
WHERE source = %(source)s AND dedupe_key = ANY(%(keys)s) AND callback_id = %(id)s
UNION ALL
SELECT dedupe_key FROM delivery_reports
WHERE source = %(source)s AND dedupe_key = ANY(%(keys)s) AND callback_id = %(id)s
