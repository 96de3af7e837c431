-- Deletes the dead letters of a stand-in whose callback has its own.
DELETE FROM dead_letters WHERE callback_id = %(stood_in)s
