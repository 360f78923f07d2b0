-- What the embedded issuer keeps until it expires. Ids are hashed: they are what a bearer shows, and nobody can show a hash.
CREATE TABLE issuer_item (
  model TEXT NOT NULL,
  id_hash BLOB NOT NULL,
  payload TEXT NOT NULL,
  grant_id TEXT,
  uid TEXT,
  user_code TEXT,
  account TEXT,
  expires_s INTEGER NOT NULL,
  consumed_s INTEGER,
  PRIMARY KEY (model, id_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX issuer_item_by_grant ON issuer_item (grant_id) WHERE grant_id IS NOT NULL;
CREATE INDEX issuer_item_by_uid ON issuer_item (uid) WHERE uid IS NOT NULL;
CREATE INDEX issuer_item_by_user_code ON issuer_item (user_code) WHERE user_code IS NOT NULL;
CREATE INDEX issuer_item_by_account ON issuer_item (account) WHERE account IS NOT NULL;
CREATE INDEX issuer_item_by_expiry ON issuer_item (expires_s);

-- Public keys of the processes that sign tokens; the private ones are in their memory alone.
CREATE TABLE issuer_key (
  kid TEXT PRIMARY KEY,
  jwk TEXT NOT NULL,
  expires_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who logs in here. Without a password until the first link was used.
CREATE TABLE login (
  subject TEXT PRIMARY KEY,
  username TEXT NOT NULL UNIQUE,
  password TEXT,
  created_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One-time links that set a password.
CREATE TABLE login_link (
  code_hash BLOB PRIMARY KEY,
  subject TEXT NOT NULL REFERENCES login (subject),
  expires_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
