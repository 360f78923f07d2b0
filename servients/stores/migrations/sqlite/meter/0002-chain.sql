-- Gap reports and checkpoints take their turn among the readings.
CREATE TABLE outbox_of_chain (
  position INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('grant', 'reading', 'gap', 'checkpoint')),
  message BLOB NOT NULL,
  added_s INTEGER NOT NULL
) STRICT;
INSERT INTO outbox_of_chain SELECT position, kind, message, added_s FROM outbox;
DROP TABLE outbox;
ALTER TABLE outbox_of_chain RENAME TO outbox;
