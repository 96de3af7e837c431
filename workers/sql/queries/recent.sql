-- What the latest callbacks became, for people: one row for each event, or one for a callback without any.
SELECT c.received_at, c.source, c.provider, c.outcome, e.kind, e.message_id, e.sender, e.recipient, e.content, e.traffic
FROM callbacks c
LEFT JOIN LATERAL (
    SELECT CASE WHEN m.intent = 'none' THEN 'MO' ELSE 'MO ' || m.intent END AS kind,
        m.message_id, m.sender, m.recipient, m.text AS content, m.traffic
    FROM inbound_messages m WHERE m.received_at = c.received_at AND m.callback_id = c.id
    UNION ALL
    SELECT 'receipt', r.message_id, r.sender, r.recipient, concat_ws(': ', r.status, r.reason), r.traffic
    FROM delivery_reports r WHERE r.received_at = c.received_at AND r.callback_id = c.id
    UNION ALL
    SELECT 'dead letter', NULL, NULL, NULL, concat_ws(': ', d.reason, nullif(d.detail, '')), NULL
    FROM dead_letters d WHERE d.callback_id = c.id
) e ON true
WHERE c.received_at >= %(since)s
ORDER BY c.received_at, c.id
LIMIT %(limit)s
