-- The backend says itself whose receipts it lacks.
DROP TABLE command_reported;
