-- Requests with an Idempotency-Key, by a hash of caller and key; without a status while they are being done.
CREATE TABLE idempotency_key (
  id_hash bytea PRIMARY KEY,
  request_hash bytea NOT NULL,
  claimed_s bigint NOT NULL,
  status integer,
  content_type text,
  location text,
  body bytea
);
CREATE INDEX idempotency_key_claimed ON idempotency_key (claimed_s);

-- What a reader was granted, of all meters.
CREATE INDEX reader_grant_reader ON reader_grant (reader, id);
