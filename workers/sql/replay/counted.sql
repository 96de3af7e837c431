-- Replays that the ledger counts now.
UPDATE replays SET in_ledger = true WHERE id = ANY(%(ids)s)
