-- The newest dead letters that match.
SELECT id, callback_id, item, source, provider, stage, reason, detail, created_at, attempts, state
FROM dead_letters_matching(
    %(ids)s::bigint[], %(callback_id)s, %(source)s, %(reason)s, %(since)s, %(until)s, %(state)s)
ORDER BY id DESC
LIMIT %(limit)s
