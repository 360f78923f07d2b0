-- Whose entry an item is: what a meter is told to forget depends on which of its entries still wait here. Null for grants,
-- and for what an earlier version left.
ALTER TABLE outbox ADD COLUMN meter INTEGER;
ALTER TABLE outbox ADD COLUMN sequence INTEGER;
ALTER TABLE set_aside ADD COLUMN meter INTEGER;
ALTER TABLE set_aside ADD COLUMN sequence INTEGER;
CREATE INDEX outbox_entry ON outbox (meter, sequence) WHERE sequence IS NOT NULL;
CREATE INDEX outbox_unknown ON outbox (position) WHERE sequence IS NULL AND kind <> 'grant';
CREATE INDEX set_aside_unknown ON set_aside (position) WHERE sequence IS NULL AND kind <> 'grant';

-- Tells this database from any other that the same gateway had before it, or was restored to.
CREATE TABLE custodian (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  name BLOB NOT NULL
) STRICT;
INSERT INTO custodian (id, name) VALUES (1, randomblob(16));
