-- Entries that were kept and then given up, as stretches of consecutive sequences with what chains them to others.
CREATE TABLE dropped_stretch (
  meter integer NOT NULL REFERENCES meter (id),
  first bigint NOT NULL,
  last bigint NOT NULL,
  previous_hash bytea NOT NULL,
  hash bytea NOT NULL,
  PRIMARY KEY (meter, first)
);
