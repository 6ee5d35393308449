-- A database as version 1 of the tables was written: a gate, and a run that was decided.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL,
    touched INTEGER NOT NULL
) STRICT;
INSERT INTO store VALUES(1,4,3);
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
INSERT INTO objects VALUES(1,'Gate','shop','checkout',1,1795262400000000,0,'{"apiVersion":"probegate.io/v1alpha1","kind":"Gate","metadata":{"creationTimestamp":"2026-11-21T12:00:00Z","generation":1,"labels":{},"name":"checkout","namespace":"shop","uid":"019aa641-4c00-7000-8000-000000000001"},"spec":{"post":{"checks":[]},"target":{"names":["checkout"]}}}',NULL);
INSERT INTO objects VALUES(2,'GateRun','shop','checkout-c17-2-post',4,1795262401000000,1,'{"apiVersion":"probegate.io/v1alpha1","kind":"GateRun","metadata":{"creationTimestamp":"2026-11-21T12:00:01Z","generation":1,"labels":{"tier":"web"},"name":"checkout-c17-2-post","namespace":"shop","uid":"019aa641-4fe8-7000-8000-000000000002"},"spec":{"gate":"checkout"}}','{"conditions":[{"status":"True","type":"Decided"}],"reason":"all passed","verdict":"pass"}');
CREATE TABLE labels (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    id INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    PRIMARY KEY (kind, key, value, id)
) STRICT, WITHOUT ROWID;
INSERT INTO labels VALUES('GateRun','tier','web',2,'shop');
CREATE UNIQUE INDEX objects_by_name ON objects (kind, namespace, name);
CREATE INDEX objects_by_kind ON objects (kind);
CREATE INDEX objects_by_namespace ON objects (kind, namespace);
CREATE INDEX objects_undecided ON objects (kind) WHERE decided = 0;
CREATE INDEX runs_by_gate ON objects (namespace, json_extract(body, '$.spec.gate'), created_us)
    WHERE decided = 1 AND kind = 'GateRun';
COMMIT;
PRAGMA application_id=0x50726f62;
PRAGMA user_version=1;
