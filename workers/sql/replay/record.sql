-- Records a replay. The ledger need not change where the outcome did not.
INSERT INTO replays (callback_id, stood_in, source, before, after, letters, in_ledger)
VALUES (%(id)s, %(stood_in)s, %(source)s, %(before)s, %(after)s, %(letters)s, %(before)s = %(after)s)
