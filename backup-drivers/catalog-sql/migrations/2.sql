-- A project's backups in the order in which they are listed: without it, a list of thousands is sorted in a file.
CREATE INDEX backups_by_project_age ON backups (project_id, created_at, id) WHERE deleted_at IS NULL;
