CREATE TABLE membership_list (
  gid bytea NOT NULL,
  version bigint NOT NULL,
  revision bigint NOT NULL,
  list_hash bytea NOT NULL,
  bundle bytea NOT NULL,
  published_s bigint NOT NULL,
  PRIMARY KEY (gid, version, revision)
);
CREATE INDEX membership_list_hash ON membership_list (list_hash);

CREATE TABLE epoch (
  gid bytea NOT NULL,
  epoch bigint NOT NULL,
  attempt integer NOT NULL,
  th2 bytea NOT NULL,
  list_hash bytea NOT NULL,
  members integer NOT NULL,
  reason text NOT NULL,
  recorded_s bigint NOT NULL,
  record bytea NOT NULL,
  -- Null where it was restored from a backup that has none; it is endorsed when its record comes again.
  endorsement bytea,
  PRIMARY KEY (gid, epoch, attempt)
);

-- Whoever stores readings of a meter holds its row: that makes them one after another, and the newest known without
-- looking into the partitions. `last_hash` is null as long as there is no reading.
CREATE TABLE meter (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  cert_hash bytea NOT NULL UNIQUE,
  readings bigint NOT NULL DEFAULT 0,
  last_sequence bigint NOT NULL DEFAULT 0,
  last_hash bytea
) WITH (fillfactor = 50);

-- One partition a week, made when its first reading comes, each with its own unique index on (meter, sequence): an index
-- over all partitions would have to contain the time.
CREATE TABLE reading (
  meter integer NOT NULL,
  sequence bigint NOT NULL,
  received_s bigint NOT NULL,
  epoch bigint NOT NULL,
  attempt integer NOT NULL,
  gid bytea NOT NULL,
  hash bytea NOT NULL,
  previous_hash bytea NOT NULL,
  message bytea NOT NULL
) PARTITION BY RANGE (received_s);

CREATE TABLE reader_grant (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  meter integer NOT NULL REFERENCES meter (id),
  reader bytea NOT NULL,
  gid bytea NOT NULL,
  epoch bigint NOT NULL,
  attempt integer NOT NULL,
  key_hash bytea NOT NULL,
  received_s bigint NOT NULL,
  message bytea NOT NULL,
  UNIQUE (meter, reader, gid, epoch, attempt, key_hash)
);

-- In the order of bytes, as SQLite has it, whatever the database's language.
CREATE TABLE directory_entry (
  id text COLLATE "C" PRIMARY KEY,
  td text NOT NULL,
  created_s bigint NOT NULL,
  modified_s bigint NOT NULL,
  ttl_s bigint,
  owner text NOT NULL
);
CREATE INDEX directory_entry_expiry ON directory_entry ((modified_s + ttl_s)) WHERE ttl_s IS NOT NULL;
