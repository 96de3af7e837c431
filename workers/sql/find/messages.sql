-- Inbound messages of this id, or from or to an address that ends so; where `exact` is given, only if it is one of
-- these. The newest first. MATERIALIZED: whoever reads the table backwards for the newest may have to read all of it.
WITH hits AS MATERIALIZED (
    SELECT id FROM inbound_messages WHERE message_id = %(text)s
    UNION
    SELECT id FROM inbound_messages
    WHERE reverse(right(sender, 20)) LIKE %(end)s AND (%(exact)s::text[] IS NULL OR sender = ANY (%(exact)s))
    UNION
    SELECT id FROM inbound_messages
    WHERE reverse(right(recipient, 20)) LIKE %(end)s AND (%(exact)s::text[] IS NULL OR recipient = ANY (%(exact)s))
)
SELECT m.callback_id, m.source, m.provider, m.message_id, m.channel, m.sender, m.recipient, m.text, m.part_number,
    m.part_count, m.traffic, m.intent, m.received_at, m.test
FROM inbound_messages m
WHERE m.id IN (SELECT id FROM hits ORDER BY id DESC LIMIT %(limit)s)
ORDER BY m.id DESC
