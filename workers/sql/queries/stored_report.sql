-- The delivery report that is stored under a dedupe key, and the callback that brought it.
SELECT callback_id, message_id, channel, sender, recipient, status, final, provider_status, error_code, reason,
    occurred_at, received_at, price, currency, parts, traffic, extra, test
FROM delivery_reports
WHERE source = %(source)s AND dedupe_key = %(key)s
