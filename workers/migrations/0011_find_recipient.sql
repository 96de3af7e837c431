-- outside a transaction

-- `callbox find`: as for the sender.
CREATE INDEX CONCURRENTLY IF NOT EXISTS inbound_messages_recipient
    ON inbound_messages (reverse(right(recipient, 20)) text_pattern_ops)
