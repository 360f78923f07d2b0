-- Requests with an Idempotency-Key, by a hash of caller and key; without a status while they are being done.
CREATE TABLE idempotency_key (
  id_hash BLOB NOT NULL PRIMARY KEY,
  request_hash BLOB NOT NULL,
  claimed_s INTEGER NOT NULL,
  status INTEGER,
  content_type TEXT,
  location TEXT,
  body BLOB
) STRICT;
CREATE INDEX idempotency_key_claimed ON idempotency_key (claimed_s);

-- What a reader was granted, of all meters.
CREATE INDEX reader_grant_reader ON reader_grant (reader, id);
