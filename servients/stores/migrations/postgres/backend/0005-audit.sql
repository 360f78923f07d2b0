-- Who did what: a hash chain, and what a backend has signed of it.
CREATE TABLE audit_entry (
  sequence bigint PRIMARY KEY,
  time_s bigint NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  subject text NOT NULL,
  outcome text NOT NULL,
  request_id text,
  -- JSON, in the order in which it is hashed.
  details text NOT NULL,
  previous_hash bytea NOT NULL,
  hash bytea NOT NULL
);

CREATE TABLE audit_checkpoint (
  number bigint PRIMARY KEY,
  sequence bigint NOT NULL,
  message bytea NOT NULL
);

-- One row: where the chain has come to. `log` tells it from every other. Whoever appends holds the row until the commit.
CREATE TABLE audit_state (
  log bytea NOT NULL,
  sequence bigint NOT NULL,
  hash bytea NOT NULL
);
INSERT INTO audit_state VALUES (decode(replace(gen_random_uuid()::text, '-', ''), 'hex'), 0, decode(repeat('00', 32), 'hex'));
