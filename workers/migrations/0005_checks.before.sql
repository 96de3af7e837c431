-- Statuses and stages are words of a fixed list. What is stored from now on is checked; the rows that are there are
-- checked by the part after the release, while writers go on.

ALTER TABLE delivery_reports ADD CONSTRAINT delivery_reports_status CHECK (status IN (
    'queued', 'accepted', 'sent', 'unknown', 'undelivered', 'failed', 'rejected', 'expired', 'deleted', 'delivered'
)) NOT VALID;

ALTER TABLE deliveries ADD CONSTRAINT deliveries_status CHECK (status IN (
    'queued', 'accepted', 'sent', 'unknown', 'undelivered', 'failed', 'rejected', 'expired', 'deleted', 'delivered'
)) NOT VALID;

ALTER TABLE dead_letters ADD CONSTRAINT dead_letters_stage CHECK (stage IN (
    'unpack', 'source', 'parse', 'drain', 'store'
)) NOT VALID;
