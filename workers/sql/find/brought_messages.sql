-- The inbound messages that a callback brought.
SELECT callback_id, source, provider, message_id, channel, sender, recipient, text, part_number, part_count, traffic,
    intent, received_at, test
FROM inbound_messages
WHERE received_at = %(received_at)s AND callback_id = %(id)s
ORDER BY id
