-- Puts a replay on record. The ledger need not move where the outcome is what it was.
INSERT INTO replays (callback_id, stood_in, source, before, after, letters, in_ledger)
VALUES (%(id)s, %(stood_in)s, %(source)s, %(before)s, %(after)s, %(letters)s, %(before)s = %(after)s)
