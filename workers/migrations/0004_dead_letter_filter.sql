-- The dead letters that match every filter; a filter that is null matches all. PostgreSQL inlines the function, so that a
-- query over it costs what the query inside would cost.
CREATE FUNCTION dead_letters_matching(
    ids bigint[], callback uuid, source text, reason text, since timestamptz, until timestamptz, state text
) RETURNS SETOF dead_letters LANGUAGE sql STABLE AS $$
    SELECT * FROM dead_letters d
    WHERE ($1 IS NULL OR d.id = ANY($1))
        AND ($2 IS NULL OR d.callback_id = $2)
        AND ($3 IS NULL OR d.source = $3)
        AND ($4 IS NULL OR d.reason = $4)
        AND ($5 IS NULL OR d.created_at >= $5)
        AND ($6 IS NULL OR d.created_at < $6)
        AND ($7 IS NULL OR d.state = $7)
$$;
