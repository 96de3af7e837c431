-- Discards the open ones of these dead letters; the reasons of those that were.
UPDATE dead_letters SET state = 'discarded'
WHERE id = ANY(%(ids)s) AND state = 'open'
RETURNING reason
