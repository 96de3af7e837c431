-- The record of replays, and a quick way to the dead letters that wait for one.

-- One callback that a replay changed. `after` is its outcome since then, or `repeat`: its bytes could not be unpacked
-- when they arrived (it was stored under the id `stood_in`, else null), and the callback that they are is stored already.
-- `in_ledger`: whether the ledger in Redis counts what the row has; until then the next replay sees to it.
CREATE TABLE replays (
    id          uuid        NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
    callback_id uuid        NOT NULL,
    stood_in    uuid,
    source      text        NOT NULL,
    before      text        NOT NULL CHECK (before IN ('stored', 'duplicate', 'dead', 'ignored')),
    after       text        NOT NULL CHECK (after IN ('stored', 'duplicate', 'dead', 'ignored', 'repeat')),
    letters     integer     NOT NULL,
    replayed_at timestamptz NOT NULL DEFAULT now(),
    in_ledger   boolean     NOT NULL
);
CREATE INDEX replays_callback ON replays (callback_id);
CREATE INDEX replays_unsettled ON replays (replayed_at) WHERE NOT in_ledger;

CREATE INDEX dead_letters_waiting ON dead_letters (callback_id, item) WHERE state = 'open';
