-- A registration that ends at a time that was given, and not some time after its last change.
ALTER TABLE directory_entry ADD COLUMN expires_s INTEGER;
DROP INDEX directory_entry_expiry;
CREATE INDEX directory_entry_expiry ON directory_entry (coalesce(modified_s + ttl_s, expires_s));

-- Position of its last event.
ALTER TABLE directory_entry ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

-- What happened in the directory. A position is the directory's revision after it.
CREATE TABLE directory_event (
  position INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  change TEXT
) STRICT;
