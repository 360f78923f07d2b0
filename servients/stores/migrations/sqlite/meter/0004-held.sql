-- Which entry of the chain an item is, so that a gateway's word for all up to one can be followed.
ALTER TABLE outbox ADD COLUMN sequence INTEGER;
ALTER TABLE set_aside ADD COLUMN sequence INTEGER;

-- What a gateway has signed for and not yet brought to the backend: sent again to the next one if it is lost. The holder is
-- the gateway's key and the database in which it has them.
CREATE TABLE held (
  position INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  message BLOB NOT NULL,
  added_s INTEGER NOT NULL,
  sequence INTEGER,
  holder BLOB NOT NULL
) STRICT;
CREATE INDEX held_by ON held (holder, sequence);

-- Where the gateway is, if it is no longer where the configuration says.
CREATE TABLE home (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  state BLOB NOT NULL
) STRICT;
