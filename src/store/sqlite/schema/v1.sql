-- One row. `revision` counts every change of any resource and is the newest resourceVersion;
-- `touched` is what the readiness check writes.
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    touched INTEGER NOT NULL
) STRICT;
INSERT INTO store VALUES (1, 0, 0);

-- Every resource of every kind. `id` is the revision that created it, so that newest first is id
-- downwards, whatever the clock has done, and every index below ends in it. `body` has neither the
-- status, which is written apart, nor metadata.resourceVersion, which is `version`.
CREATE TABLE objects (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    decided INTEGER NOT NULL,
    body TEXT NOT NULL,
    status TEXT
) STRICT;
CREATE UNIQUE INDEX objects_by_name ON objects (kind, namespace, name);
CREATE INDEX objects_by_kind ON objects (kind);
CREATE INDEX objects_by_namespace ON objects (kind, namespace);
-- Few are in flight at any time, and they are what a start asks for.
CREATE INDEX objects_undecided ON objects (kind) WHERE decided = 0;
-- What retention counts: decided runs by gate, the oldest first.
CREATE INDEX runs_by_gate ON objects (namespace, json_extract(body, '$.spec.gate'), created_us)
    WHERE decided = 1 AND kind = 'GateRun';

-- The labels of every resource.
CREATE TABLE labels (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    id INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    PRIMARY KEY (kind, key, value, id)
) STRICT, WITHOUT ROWID;
