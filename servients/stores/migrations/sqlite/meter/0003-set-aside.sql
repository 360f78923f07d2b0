ALTER TABLE outbox_state ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE outbox_state SET bytes = (SELECT coalesce(sum(length(message)), 0) FROM outbox);

-- What the gateway refuses while it takes other things: kept, and out of their way until it is tried again.
CREATE TABLE set_aside (
  position INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  message BLOB NOT NULL,
  added_s INTEGER NOT NULL,
  code TEXT NOT NULL
) STRICT;
