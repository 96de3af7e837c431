-- outside a transaction

-- `callbox find`: the messages sent to a number; their reports are found by their message ids.
CREATE INDEX CONCURRENTLY IF NOT EXISTS deliveries_recipient
    ON deliveries (reverse(right(recipient, 20)) text_pattern_ops)
