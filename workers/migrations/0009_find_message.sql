-- outside a transaction

-- `callbox find`: an inbound message by its id, whichever source it is of. Equal ids are all that is asked for.
CREATE INDEX CONCURRENTLY IF NOT EXISTS inbound_messages_message ON inbound_messages USING hash (message_id)
