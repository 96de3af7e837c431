-- What came along with an inbound message (MMS, RCS, WhatsApp): a list of objects with `url`, and `content_type` and
-- `size_bytes` where the provider reports them. Nothing is fetched.

ALTER TABLE inbound_messages ADD COLUMN attachments jsonb NOT NULL DEFAULT '[]';

CREATE OR REPLACE VIEW assembled_messages AS
WITH part AS (
    SELECT *, coalesce(sent_at, received_at) AS at
    FROM inbound_messages
    WHERE part_count > 1 AND part_number BETWEEN 1 AND part_count
),
spaced AS (
    SELECT *, at - lag(at) OVER same_reference > interval '1 day' AS begins
    FROM part
    WINDOW same_reference AS (PARTITION BY source, sender, recipient, part_reference, part_count ORDER BY at, id)
),
burst AS (
    SELECT *, count(*) FILTER (WHERE begins) OVER (
        PARTITION BY source, sender, recipient, part_reference, part_count ORDER BY at, id) AS burst
    FROM spaced
),
distinct_part AS (
    SELECT DISTINCT ON (source, sender, recipient, part_reference, part_count, burst, part_number, text) *
    FROM burst
    ORDER BY source, sender, recipient, part_reference, part_count, burst, part_number, text, at, id
),
numbered AS (
    SELECT *, row_number() OVER (
        PARTITION BY source, sender, recipient, part_reference, part_count, burst, part_number ORDER BY at, id) AS round
    FROM distinct_part
)
SELECT source, min(provider) AS provider, min(channel) AS channel, sender, recipient, part_reference, part_count,
    (part_count - count(*))::integer AS parts_missing,
    CASE WHEN count(*) = part_count THEN string_agg(text, '' ORDER BY part_number) END AS text,
    min(traffic) AS traffic, 'none' AS intent,
    min(sent_at) AS sent_at, min(received_at) AS first_received_at, max(received_at) AS last_received_at,
    array_agg(message_id ORDER BY part_number) AS message_ids,
    '[]'::jsonb AS attachments
FROM numbered
GROUP BY source, sender, recipient, part_reference, part_count, burst, round
UNION ALL
SELECT source, provider, channel, sender, recipient, part_reference, part_count, 0, text, traffic, intent,
    sent_at, received_at, received_at, ARRAY[message_id], attachments
FROM inbound_messages
WHERE (part_count > 1 AND part_number BETWEEN 1 AND part_count) IS NOT TRUE;
