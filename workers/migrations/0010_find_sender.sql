-- outside a transaction

-- `callbox find`: a number by its end, since providers and people spell its beginning in several ways.
CREATE INDEX CONCURRENTLY IF NOT EXISTS inbound_messages_sender
    ON inbound_messages (reverse(right(sender, 20)) text_pattern_ops)
