-- Devices that are invited, or ask for certificates, until these were issued and fetched.
CREATE TABLE enrolment (
  device TEXT NOT NULL,
  kind TEXT NOT NULL,
  proof BLOB NOT NULL,
  created_s INTEGER NOT NULL,
  expires_s INTEGER NOT NULL,
  request BLOB,
  certificates BLOB,
  PRIMARY KEY (device, kind)
) STRICT;
