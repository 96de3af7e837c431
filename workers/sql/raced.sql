-- For callbacks that met another transaction storing the same callback or event at the same moment: store.sql could
-- not see its rows yet, this statement, run right after it in the same transaction, can.
--
-- Parameters, each a JSON array: callbacks (n, id, received_at, inbox_id) and events (id of the callback, kind, source,
-- key_hex, fingerprint_hex). Marks the conflicts among them, and returns n, outcome, repeat and conflict as store.sql
-- does.
WITH
callbacks_met AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(callbacks)s::jsonb) AS a (
        n integer, id uuid, received_at timestamptz, inbox_id text)
),
events_met AS MATERIALIZED (
    SELECT id, kind, source, decode(key_hex, 'hex') AS dedupe_key, decode(fingerprint_hex, 'hex') AS fingerprint
    FROM jsonb_to_recordset(%(events)s::jsonb) AS e (id uuid, kind text, source text, key_hex text, fingerprint_hex text)
),
conflicting AS (
    SELECT e.id FROM events_met e
    JOIN inbound_messages m USING (source, dedupe_key)
    WHERE e.kind = 'mo' AND m.callback_id <> e.id AND m.fingerprint <> e.fingerprint
    UNION
    SELECT e.id FROM events_met e
    JOIN delivery_reports r USING (source, dedupe_key)
    WHERE e.kind = 'dr' AND r.callback_id <> e.id AND r.fingerprint <> e.fingerprint
),
marked AS (
    UPDATE callbacks c SET conflict = true
    FROM callbacks_met a
    WHERE c.received_at = a.received_at AND c.id = a.id AND NOT c.conflict AND c.id IN (SELECT id FROM conflicting)
)
SELECT a.n, c.outcome, c.inbox_id <> a.inbox_id AS repeat, c.conflict OR c.id IN (SELECT id FROM conflicting) AS conflict
FROM callbacks_met a JOIN callbacks c ON c.received_at = a.received_at AND c.id = a.id
