-- Replays that the ledger does not count yet, locked; those that another run has locked are for it to count.
SELECT id, source, before, after FROM replays
WHERE NOT in_ledger
ORDER BY replayed_at
LIMIT %(page)s
FOR UPDATE SKIP LOCKED
