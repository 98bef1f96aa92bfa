-- The address of the account that holds a backup, where each user has an account of its own.
ALTER TABLE backups ADD COLUMN account TEXT;
