-- What the embedded issuer keeps until it expires. Ids are hashed: they are what a bearer shows, and nobody can show a hash.
CREATE TABLE issuer_item (
  model text NOT NULL,
  id_hash bytea NOT NULL,
  payload text NOT NULL,
  grant_id text,
  uid text,
  user_code text,
  account text,
  expires_s bigint NOT NULL,
  consumed_s bigint,
  PRIMARY KEY (model, id_hash)
);
CREATE INDEX issuer_item_by_grant ON issuer_item (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX issuer_item_by_uid ON issuer_item (uid) WHERE uid IS NOT NULL;
CREATE INDEX issuer_item_by_user_code ON issuer_item (user_code) WHERE user_code IS NOT NULL;
CREATE INDEX issuer_item_by_account ON issuer_item (account) WHERE account IS NOT NULL;
CREATE INDEX issuer_item_by_expiry ON issuer_item (expires_s);

-- Public keys of the processes that sign tokens; the private ones are in their memory alone.
CREATE TABLE issuer_key (
  kid text PRIMARY KEY,
  jwk text NOT NULL,
  expires_s bigint NOT NULL
);

-- Who logs in here. Without a password until the first link was used.
CREATE TABLE login (
  subject text PRIMARY KEY,
  username text NOT NULL UNIQUE,
  password text,
  created_s bigint NOT NULL
);

-- One-time links that set a password.
CREATE TABLE login_link (
  code_hash bytea PRIMARY KEY,
  subject text NOT NULL REFERENCES login (subject),
  expires_s bigint NOT NULL
);
