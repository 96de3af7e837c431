-- How many callbacks have open dead letters that match.
SELECT count(DISTINCT callback_id)
FROM dead_letters_matching(%(ids)s::bigint[], NULL, %(source)s, %(reason)s, %(since)s, %(until)s, 'open')
