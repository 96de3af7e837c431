-- The tables of the README. Times are UTC instants; ids of callbacks are UUIDv7, made at the ingress.

-- One acknowledged callback, raw. Both columns of the key are fixed at the ingress, so that the table can be
-- partitioned by time.
CREATE TABLE callbacks (
    id          uuid        NOT NULL,
    inbox_id    text        NOT NULL,
    source      text        NOT NULL,
    provider    text        NOT NULL,
    received_at timestamptz NOT NULL,
    method      text        NOT NULL,
    query       text        NOT NULL,
    headers     jsonb       NOT NULL,
    body        bytea       NOT NULL,
    remote_ip   inet,
    outcome     text        NOT NULL CHECK (outcome IN ('stored', 'duplicate', 'dead', 'ignored')),
    conflict    boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (received_at, id)
);

-- One distinct inbound message, or part of one. Unique by (source, dedupe_key); never changed.
CREATE TABLE inbound_messages (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    callback_id    uuid        NOT NULL,
    source         text        NOT NULL,
    provider       text        NOT NULL,
    message_id     text        NOT NULL,
    channel        text        NOT NULL,
    sender         text,
    recipient      text,
    text           text        NOT NULL,
    encoding       text,
    part_reference text,
    part_number    integer,
    part_count     integer,
    traffic        text        CHECK (traffic IN ('a2p', 'p2p')),
    intent         text        NOT NULL CHECK (intent IN ('opt_out', 'opt_in', 'help', 'none')),
    sent_at        timestamptz,
    received_at    timestamptz NOT NULL,
    extra          jsonb       NOT NULL,
    dedupe_key     bytea       NOT NULL,
    fingerprint    bytea       NOT NULL,
    UNIQUE (source, dedupe_key)
);

-- One distinct delivery report. History: never changed.
CREATE TABLE delivery_reports (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    callback_id     uuid        NOT NULL,
    source          text        NOT NULL,
    provider        text        NOT NULL,
    message_id      text        NOT NULL,
    channel         text        NOT NULL,
    sender          text,
    recipient       text,
    status          text        NOT NULL,
    final           boolean     NOT NULL,
    provider_status text,
    error_code      text,
    reason          text,
    occurred_at     timestamptz,
    received_at     timestamptz NOT NULL,
    price           numeric,
    currency        text,
    parts           integer,
    traffic         text        CHECK (traffic IN ('a2p', 'p2p')),
    extra           jsonb       NOT NULL,
    dedupe_key      bytea       NOT NULL,
    fingerprint     bytea       NOT NULL,
    UNIQUE (source, dedupe_key)
);
CREATE INDEX delivery_reports_message ON delivery_reports (source, message_id);

-- The events of a callback are found by its time and id; a BRIN index costs next to nothing as rows come in that order.
CREATE INDEX inbound_messages_received ON inbound_messages USING brin (received_at);
CREATE INDEX delivery_reports_received ON delivery_reports USING brin (received_at);

-- The present state of one sent message. The winning report's rank, time, position and key are kept with it, so that
-- a later report is weighed against it without reading the history.
CREATE TABLE deliveries (
    source          text        NOT NULL,
    provider        text        NOT NULL,
    message_id      text        NOT NULL,
    recipient       text,
    status          text        NOT NULL,
    final           boolean     NOT NULL,
    error_code      text,
    reason          text,
    read_at         timestamptz,
    first_report_at timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    reports         integer     NOT NULL,
    winner_rank     smallint    NOT NULL,
    winner_at       timestamptz,
    winner_position smallint    NOT NULL,
    winner_key      bytea       NOT NULL,
    PRIMARY KEY (source, message_id)
) WITH (fillfactor = 80);

-- One callback, or one event in it (item, counted from 0; -1 is the callback as a whole), that was not understood.
CREATE TABLE dead_letters (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    callback_id uuid        NOT NULL,
    item        integer     NOT NULL,
    source      text        NOT NULL,
    provider    text        NOT NULL,
    stage       text        NOT NULL,
    reason      text        NOT NULL,
    detail      text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    attempts    integer     NOT NULL DEFAULT 1,
    state       text        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replayed', 'discarded')),
    UNIQUE (callback_id, item)
);
CREATE INDEX dead_letters_open ON dead_letters (created_at) WHERE state = 'open';
