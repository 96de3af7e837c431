-- The delivery reports that a callback brought.
SELECT callback_id, source, provider, message_id, channel, sender, recipient, status, error_code, reason, occurred_at,
    received_at, test
FROM delivery_reports
WHERE received_at = %(received_at)s AND callback_id = %(id)s
ORDER BY id
