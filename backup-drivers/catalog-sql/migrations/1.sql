-- The first schema. Times are microseconds since 1970, lengths are bytes, properties are JSON objects.

CREATE TABLE settings (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE quotas (
    project_id TEXT NOT NULL PRIMARY KEY,
    backups    INTEGER,
    gigabytes  INTEGER
) STRICT, WITHOUT ROWID;

-- A row stays until whatever its job attached was undone.
CREATE TABLE jobs (
    id          TEXT NOT NULL PRIMARY KEY,
    kind        TEXT NOT NULL,
    host        TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    backup_id   TEXT,
    volume_id   TEXT,
    snapshot_id TEXT,
    plan        TEXT,
    attach      TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE volumes (
    id                TEXT NOT NULL PRIMARY KEY,
    project_id        TEXT NOT NULL,
    user_id           TEXT NOT NULL,
    name              TEXT,
    description       TEXT,
    length            INTEGER NOT NULL,
    status            TEXT NOT NULL,
    previous_status   TEXT,
    properties        TEXT NOT NULL,
    image_properties  TEXT NOT NULL,
    bootable          INTEGER NOT NULL,
    encryption_key_id TEXT,
    provider_location TEXT,
    adopted           INTEGER NOT NULL,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER,
    job_id            TEXT
) STRICT;
CREATE INDEX volumes_by_age ON volumes (created_at, id);
CREATE INDEX volumes_by_name ON volumes (name);
CREATE INDEX volumes_by_place ON volumes (provider_location);

CREATE TABLE snapshots (
    id                TEXT NOT NULL PRIMARY KEY,
    volume_id         TEXT NOT NULL,
    project_id        TEXT NOT NULL,
    name              TEXT,
    description       TEXT,
    length            INTEGER NOT NULL,
    status            TEXT NOT NULL,
    provider_location TEXT,
    created_at        INTEGER NOT NULL,
    job_id            TEXT
) STRICT;
CREATE INDEX snapshots_by_volume ON snapshots (volume_id);
CREATE INDEX snapshots_by_name ON snapshots (name);

-- The dependants of a backup are counted, not stored.
CREATE TABLE backups (
    id                TEXT NOT NULL PRIMARY KEY,
    user_id           TEXT NOT NULL,
    project_id        TEXT NOT NULL,
    volume_id         TEXT NOT NULL,
    snapshot_id       TEXT,
    parent_id         TEXT,
    status            TEXT NOT NULL,
    fail_reason       TEXT,
    size_gib          INTEGER NOT NULL,
    volume_length     INTEGER,
    name              TEXT,
    description       TEXT,
    properties        TEXT NOT NULL,
    repository        TEXT NOT NULL,
    service           TEXT NOT NULL,
    container         TEXT,
    prefix            TEXT,
    object_count      INTEGER NOT NULL,
    stored_bytes      INTEGER,
    host              TEXT,
    availability_zone TEXT,
    temp_volume_id    TEXT,
    temp_snapshot_id  TEXT,
    restore_volume_id TEXT,
    encryption_key_id TEXT,
    data_timestamp    INTEGER NOT NULL,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER,
    job_id            TEXT,
    deleted_at        INTEGER
) STRICT;
CREATE INDEX backups_by_age ON backups (created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX backups_by_name ON backups (name) WHERE deleted_at IS NULL;
CREATE INDEX backups_by_volume ON backups (volume_id, data_timestamp) WHERE deleted_at IS NULL;
CREATE INDEX backups_by_parent ON backups (parent_id) WHERE deleted_at IS NULL;
CREATE INDEX backups_by_project ON backups (project_id, size_gib) WHERE deleted_at IS NULL;
