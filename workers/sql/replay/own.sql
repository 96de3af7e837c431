-- The dedupe keys of the events that a callback brought.
SELECT dedupe_key FROM inbound_messages WHERE received_at = %(received_at)s AND callback_id = %(id)s
UNION ALL
SELECT dedupe_key FROM delivery_reports WHERE received_at = %(received_at)s AND callback_id = %(id)s
