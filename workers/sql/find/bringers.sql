-- The callbacks that brought events: each by the two columns of the key.
SELECT c.id, c.received_at, c.source, c.provider, c.outcome, c.conflict, c.test
FROM unnest(%(times)s::timestamptz[], %(ids)s::uuid[]) AS k (received_at, id)
JOIN callbacks c USING (received_at, id)
ORDER BY c.received_at DESC, c.id DESC
