-- The rows from before the checks. Reads each table once; readers and writers go on.

ALTER TABLE delivery_reports VALIDATE CONSTRAINT delivery_reports_status;
ALTER TABLE deliveries VALIDATE CONSTRAINT deliveries_status;
ALTER TABLE dead_letters VALIDATE CONSTRAINT dead_letters_stage;
