-- Stores one batch in one statement and returns the outcome of every callback in it.
--
-- Parameters, each a JSON array: callbacks, messages (inbound), reports (delivery), dead_letters. `n` numbers the
-- callbacks of the batch, and an event and a dead letter name their callback by it; `i` numbers the events.
--
-- Returns n, outcome, repeat, conflict, raced. `repeat` is true where the callback was stored under another inbox entry
-- (an append whose answer was lost and that was sent again). `raced` is true where another transaction stored the same callback
-- or event since this statement began: what this one cannot see of it, raced.sql finds out.
--
-- Every INSERT is sorted by its key: several writers of the same keys then wait for each other, but never in a circle.
WITH
arrived AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(callbacks)s::jsonb) AS a (
        n integer, inbox_id text, id uuid, source text, provider text, received_at timestamptz, method text,
        query text, headers jsonb, body text, remote_ip inet, events integer)
),
known AS (  -- stored by an earlier transaction
    SELECT a.n, c.outcome, c.inbox_id <> a.inbox_id AS repeat, c.conflict
    FROM arrived a JOIN callbacks c ON c.received_at = a.received_at AND c.id = a.id
),
fresh AS MATERIALIZED (  -- new, each callback once
    SELECT DISTINCT ON (a.received_at, a.id) a.*
    FROM arrived a
    WHERE NOT EXISTS (SELECT FROM known k WHERE k.n = a.n)
    ORDER BY a.received_at, a.id, a.n
),
messages AS MATERIALIZED (
    SELECT e.*, decode(e.key_hex, 'hex') AS dedupe_key, decode(e.fingerprint_hex, 'hex') AS fingerprint,
        f.id AS callback_id, f.source, f.provider, f.received_at, f.headers ? 'x-callbox-test' AS test
    FROM jsonb_to_recordset(%(messages)s::jsonb) AS e (
        n integer, i integer, key_hex text, fingerprint_hex text, message_id text, channel text, sender text,
        recipient text, text text, encoding text, part_reference text, part_number integer, part_count integer,
        traffic text, intent text, segments integer, attachments jsonb, sent_at timestamptz, extra jsonb)
    JOIN fresh f USING (n)
),
reports AS MATERIALIZED (
    SELECT e.*, decode(e.key_hex, 'hex') AS dedupe_key, decode(e.fingerprint_hex, 'hex') AS fingerprint,
        f.id AS callback_id, f.source, f.provider, f.received_at, f.headers ? 'x-callbox-test' AS test
    FROM jsonb_to_recordset(%(reports)s::jsonb) AS e (
        n integer, i integer, key_hex text, fingerprint_hex text, message_id text, channel text, sender text,
        recipient text, status text, final boolean, read boolean, rank smallint, position smallint, provider_status text,
        error_code text, reason text, occurred_at timestamptz, price numeric, currency text, parts integer,
        traffic text, extra jsonb)
    JOIN fresh f USING (n)
),
first_messages AS MATERIALIZED (  -- each key once: the batch may hold it several times
    SELECT DISTINCT ON (source, dedupe_key) * FROM messages ORDER BY source, dedupe_key, i
),
first_reports AS MATERIALIZED (
    SELECT DISTINCT ON (source, dedupe_key) * FROM reports ORDER BY source, dedupe_key, i
),
new_messages AS (
    INSERT INTO inbound_messages (
        callback_id, source, provider, message_id, channel, sender, recipient, text, encoding, part_reference,
        part_number, part_count, traffic, intent, segments, attachments, sent_at, received_at, extra, test,
        dedupe_key, fingerprint)
    SELECT callback_id, source, provider, message_id, channel, sender, recipient, text, encoding, part_reference,
        part_number, part_count, traffic, intent, segments, attachments, sent_at, received_at, extra, test,
        dedupe_key, fingerprint
    FROM first_messages
    ORDER BY source, dedupe_key
    ON CONFLICT (source, dedupe_key) DO NOTHING
    RETURNING callback_id, source, dedupe_key, fingerprint
),
new_reports AS (
    INSERT INTO delivery_reports (
        callback_id, source, provider, message_id, channel, sender, recipient, status, final, provider_status,
        error_code, reason, occurred_at, received_at, price, currency, parts, traffic, extra, test, dedupe_key,
        fingerprint)
    SELECT callback_id, source, provider, message_id, channel, sender, recipient, status, final, provider_status,
        error_code, reason, occurred_at, received_at, price, currency, parts, traffic, extra, test, dedupe_key,
        fingerprint
    FROM first_reports
    ORDER BY source, dedupe_key
    ON CONFLICT (source, dedupe_key) DO NOTHING
    RETURNING callback_id, source, dedupe_key, fingerprint
),
counted AS MATERIALIZED (  -- the reports that are new, and only those, weigh on the deliveries
    SELECT r.*
    FROM first_reports r
    JOIN new_reports w ON w.source = r.source AND w.dedupe_key = r.dedupe_key
),
merged AS (  -- per message: the winner, and what does not depend on who wins
    SELECT DISTINCT ON (source, message_id)
        source, provider, message_id, recipient, status, final, error_code, reason, rank, occurred_at, position,
        dedupe_key,
        min(coalesce(occurred_at, received_at)) FILTER (WHERE read) OVER message AS read_at,
        min(received_at) OVER message AS first_report_at,
        max(received_at) OVER message AS updated_at,
        count(*) OVER message AS reports,
        bool_and(test) OVER message AS test
    FROM counted
    WINDOW message AS (PARTITION BY source, message_id)
    ORDER BY source, message_id, rank DESC, occurred_at DESC NULLS LAST, position DESC, dedupe_key DESC
),
advanced AS (
    INSERT INTO deliveries AS d (
        source, provider, message_id, recipient, status, final, error_code, reason, read_at, first_report_at,
        updated_at, reports, test, winner_rank, winner_at, winner_position, winner_key)
    SELECT source, provider, message_id, recipient, status, final, error_code, reason, read_at, first_report_at,
        updated_at, reports, test, rank, occurred_at, position, dedupe_key
    FROM merged
    ORDER BY source, message_id
    ON CONFLICT (source, message_id) DO UPDATE SET
        (recipient, status, final, error_code, reason, winner_rank, winner_at, winner_position, winner_key) = (
            SELECT w.* FROM (VALUES
                (d.recipient, d.status, d.final, d.error_code, d.reason,
                 d.winner_rank, d.winner_at, d.winner_position, d.winner_key),
                (excluded.recipient, excluded.status, excluded.final, excluded.error_code, excluded.reason,
                 excluded.winner_rank, excluded.winner_at, excluded.winner_position, excluded.winner_key)
            ) AS w (recipient, status, final, error_code, reason, rank, at, position, key)
            ORDER BY w.rank DESC, w.at DESC NULLS LAST, w.position DESC, w.key DESC
            LIMIT 1),
        read_at = least(d.read_at, excluded.read_at),
        first_report_at = least(d.first_report_at, excluded.first_report_at),
        updated_at = greatest(d.updated_at, excluded.updated_at),
        reports = d.reports + excluded.reports,
        test = d.test AND excluded.test
),
seen AS (  -- every event, with the fingerprint that is stored under its key: its own, or that of an earlier one
    SELECT e.callback_id, new.callback_id IS NOT DISTINCT FROM e.callback_id AS is_new, e.fingerprint,
        coalesce(new.fingerprint, old.fingerprint) AS stored_print
    FROM messages e
    LEFT JOIN new_messages new ON new.source = e.source AND new.dedupe_key = e.dedupe_key
    LEFT JOIN inbound_messages old ON old.source = e.source AND old.dedupe_key = e.dedupe_key
    UNION ALL
    SELECT e.callback_id, new.callback_id IS NOT DISTINCT FROM e.callback_id, e.fingerprint,
        coalesce(new.fingerprint, old.fingerprint)
    FROM reports e
    LEFT JOIN new_reports new ON new.source = e.source AND new.dedupe_key = e.dedupe_key
    LEFT JOIN delivery_reports old ON old.source = e.source AND old.dedupe_key = e.dedupe_key
),
judged AS (
    SELECT callback_id, bool_or(is_new) AS any_new, bool_or(stored_print <> fingerprint) AS conflict,
        bool_or(stored_print IS NULL) AS raced
    FROM seen
    GROUP BY callback_id
),
letters AS (
    SELECT f.id AS callback_id, f.source, f.provider, l.*
    FROM jsonb_to_recordset(%(dead_letters)s::jsonb) AS l (n integer, item integer, stage text, reason text, detail text)
    JOIN fresh f USING (n)
),
new_letters AS (
    INSERT INTO dead_letters (callback_id, item, source, provider, stage, reason, detail)
    SELECT callback_id, item, source, provider, stage, reason, detail FROM letters
    ORDER BY callback_id, item
    ON CONFLICT (callback_id, item) DO NOTHING
),
new_callbacks AS (
    INSERT INTO callbacks (
        id, inbox_id, source, provider, received_at, method, query, headers, body, remote_ip, outcome, conflict,
        test)
    SELECT f.id, f.inbox_id, f.source, f.provider, f.received_at, f.method, f.query, f.headers,
        decode(f.body, 'base64'), f.remote_ip,
        CASE
            WHEN j.any_new THEN 'stored'
            WHEN EXISTS (SELECT FROM letters l WHERE l.n = f.n) THEN 'dead'
            WHEN f.events > 0 THEN 'duplicate'
            ELSE 'ignored'
        END,
        coalesce(j.conflict, false),
        f.headers ? 'x-callbox-test'
    FROM fresh f LEFT JOIN judged j ON j.callback_id = f.id
    ORDER BY f.received_at, f.id
    ON CONFLICT (received_at, id) DO NOTHING
    RETURNING id, outcome, inbox_id, conflict
)
SELECT a.n,
    coalesce(k.outcome, c.outcome) AS outcome,
    coalesce(k.repeat, c.inbox_id <> a.inbox_id, false) AS repeat,
    coalesce(k.conflict, c.conflict, false) AS conflict,
    (k.outcome IS NULL AND c.outcome IS NULL) OR coalesce(j.raced, false) AS raced
FROM arrived a
LEFT JOIN known k USING (n)
LEFT JOIN new_callbacks c ON c.id = a.id
LEFT JOIN judged j ON j.callback_id = a.id
ORDER BY a.n
