ALTER TABLE outbox_state ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE outbox_state SET bytes = (SELECT coalesce(sum(length(message)), 0) FROM outbox);
