"""The drain: from the inbox to PostgreSQL. A batch goes through these files in this order:

`drainer` is the loop; `run` is one run, with its time and its claims. Then `intake`: which entries come next; `read`:
what each of them reports; `holds`: which sources are set aside; `store`: one statement for the batch, begun and
finished; `settle`: what is acknowledged, and what becomes of the rest; `count`: what the metrics have of it.
"""
