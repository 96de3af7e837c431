-- What became of the locked dead letters of a callback, a JSON array: id, and reason, stage and detail of this time, or
-- null where it is understood now (gone) or nothing changed.
UPDATE dead_letters d SET
    attempts = d.attempts + 1,
    state = CASE WHEN a.gone THEN 'replayed' ELSE d.state END,
    stage = coalesce(a.stage, d.stage),
    reason = coalesce(a.reason, d.reason),
    detail = coalesce(a.detail, d.detail)
FROM jsonb_to_recordset(%(letters)s::jsonb) AS a (id bigint, gone boolean, stage text, reason text, detail text)
WHERE d.id = a.id
