-- Inbound messages that are tests, of a source or of all: deletes up to a page of them.
DELETE FROM inbound_messages WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM inbound_messages
    WHERE test AND (%(source)s::text IS NULL OR source = %(source)s)
    LIMIT %(page)s))
