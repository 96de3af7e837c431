-- The delivery reports of sent messages, the newest first.
SELECT r.callback_id, r.source, r.provider, r.message_id, r.channel, r.sender, r.recipient, r.status, r.error_code,
    r.reason, r.occurred_at, r.received_at, r.test
FROM unnest(%(sources)s::text[], %(message_ids)s::text[]) AS k (source, message_id)
JOIN delivery_reports r USING (source, message_id)
ORDER BY r.id DESC
LIMIT %(limit)s
