-- The state of each of these dead letters, as far as they exist.
SELECT id, state FROM dead_letters WHERE id = ANY(%(ids)s)
