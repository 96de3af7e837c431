-- The inbound messages that a callback brought.
SELECT message_id, channel, sender, recipient, text, encoding, part_reference, part_number, part_count, traffic,
    intent, segments, attachments, sent_at, received_at, extra, test
FROM inbound_messages
WHERE received_at = %(received_at)s AND callback_id = %(id)s
ORDER BY id
