-- What happened, numbered within each topic from 1 in the order of the commits; it refers to what it tells of.
CREATE TABLE event (
  topic text NOT NULL,
  position bigint NOT NULL,
  gid bytea NOT NULL,
  epoch bigint,
  attempt integer,
  list_hash bytea,
  PRIMARY KEY (topic, position)
);

-- One row. `life` tells the positions in this database from those in another.
CREATE TABLE backend_state (
  life text NOT NULL,
  directory_revision bigint NOT NULL
);
INSERT INTO backend_state VALUES (substr(replace(gen_random_uuid()::text, '-', ''), 1, 12), 0);
