-- The inbound message that is stored under a dedupe key, and the callback that brought it.
SELECT callback_id, message_id, channel, sender, recipient, text, encoding, part_reference, part_number, part_count,
    traffic, intent, segments, attachments, sent_at, received_at, extra, test
FROM inbound_messages
WHERE source = %(source)s AND dedupe_key = %(key)s
