-- Null where the record came to an earlier version; it is endorsed when it comes again.
ALTER TABLE epoch ADD COLUMN endorsement BLOB;

-- Earlier versions did not keep it: at the latest when an epoch under the list was recorded.
ALTER TABLE membership_list ADD COLUMN published_s INTEGER NOT NULL DEFAULT 0;
UPDATE membership_list SET published_s = coalesce(
  (SELECT min(recorded_s) FROM epoch WHERE epoch.list_hash = membership_list.list_hash),
  unixepoch()
);
