-- Sent messages of this id, or to an address that ends so; where `exact` is given, only if it is one of these. Those
-- that changed last come first. The id is looked up source by source, since the key begins with the source.
WITH RECURSIVE source AS (
    (SELECT source FROM deliveries ORDER BY source LIMIT 1)
    UNION ALL
    SELECT (SELECT d.source FROM deliveries d WHERE d.source > s.source ORDER BY d.source LIMIT 1)
    FROM source s WHERE s.source IS NOT NULL
),
hits AS MATERIALIZED (
    SELECT d.source, d.message_id
    FROM source s JOIN deliveries d ON d.source = s.source AND d.message_id = ANY (%(message_ids)s::text[])
    UNION
    SELECT source, message_id FROM deliveries
    WHERE reverse(right(recipient, 20)) LIKE %(end)s AND (%(exact)s::text[] IS NULL OR recipient = ANY (%(exact)s))
)
SELECT source, provider, message_id, recipient, status, final, error_code, reason, read_at, first_report_at,
    updated_at, reports, test
FROM deliveries JOIN hits USING (source, message_id)
ORDER BY updated_at DESC, message_id
LIMIT %(limit)s
