-- The transactions that may have written to a table that is followed and have not ended: whoever writes holds such a
-- lock from before the first row gets its id until the commit can be seen.
SELECT DISTINCT l.virtualtransaction
FROM pg_locks l
WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.relation IN ('inbound_messages'::regclass, 'delivery_reports'::regclass, 'dead_letters'::regclass)
    AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    AND l.granted
