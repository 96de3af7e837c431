-- Gives the dead letters of a stand-in to the callback that its bytes turned out to be.
UPDATE dead_letters d SET callback_id = %(id)s, source = %(source)s, provider = %(provider)s
WHERE callback_id = %(stood_in)s
    AND NOT EXISTS (SELECT FROM dead_letters o WHERE o.callback_id = %(id)s AND o.item = d.item)
