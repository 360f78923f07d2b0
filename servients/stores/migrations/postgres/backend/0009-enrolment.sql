-- Devices that are invited, or ask for certificates, until these were issued and fetched.
CREATE TABLE enrolment (
  device text NOT NULL,
  kind text NOT NULL,
  proof bytea NOT NULL,
  created_s bigint NOT NULL,
  expires_s bigint NOT NULL,
  request bytea,
  certificates bytea,
  PRIMARY KEY (device, kind)
);
