-- The event that is stored under a dedupe key: its message id, and the callback that brought it.
SELECT message_id, callback_id FROM inbound_messages WHERE source = %(source)s AND dedupe_key = %(key)s
UNION ALL
SELECT message_id, callback_id FROM delivery_reports WHERE source = %(source)s AND dedupe_key = %(key)s
