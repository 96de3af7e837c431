-- The delivery reports that a callback brought.
SELECT message_id, channel, sender, recipient, status, final, provider_status, error_code, reason, occurred_at,
    received_at, price, currency, parts, traffic, extra, test
FROM delivery_reports
WHERE received_at = %(received_at)s AND callback_id = %(id)s
ORDER BY id
