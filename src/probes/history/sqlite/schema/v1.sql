-- The probes' history, version 1. Instants are microseconds since 1970.

-- Targets of probes, and probes themselves (an empty target), with their last known state.
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    probe TEXT NOT NULL,
    target TEXT NOT NULL,
    -- When something was last written for it.
    written INTEGER NOT NULL,
    state TEXT,
    since INTEGER,
    seen INTEGER,
    reason TEXT,
    UNIQUE (namespace, probe, target)
) STRICT;

-- Ordered by time: what is written together stands together, and so does what is forgotten
-- together. A series is read with one look-up for each minute.
CREATE TABLE minutes (
    minute INTEGER NOT NULL,
    series INTEGER NOT NULL,
    rollup BLOB NOT NULL,
    PRIMARY KEY (minute, series)
) STRICT, WITHOUT ROWID;

CREATE TABLE hours (
    hour INTEGER NOT NULL,
    series INTEGER NOT NULL,
    rollup BLOB NOT NULL,
    PRIMARY KEY (hour, series)
) STRICT, WITHOUT ROWID;

CREATE TABLE failures (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    at INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    judgement TEXT NOT NULL,
    reason TEXT NOT NULL,
    phase TEXT,
    message TEXT NOT NULL,
    -- Microseconds by phase, as JSON.
    durations TEXT NOT NULL,
    log TEXT
) STRICT;
CREATE UNIQUE INDEX failures_of_series ON failures (series, at);
CREATE INDEX failures_by_age ON failures (at);

CREATE TABLE turns (
    id INTEGER PRIMARY KEY,
    series INTEGER NOT NULL,
    at INTEGER NOT NULL,
    was TEXT NOT NULL,
    became TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX turns_of_series ON turns (series, at);
CREATE INDEX turns_by_age ON turns (at);

-- How many rows there are: counting millions takes too long.
CREATE TABLE totals (
    minutes INTEGER NOT NULL,
    hours INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    turns INTEGER NOT NULL
) STRICT;
INSERT INTO totals VALUES (0, 0, 0, 0);
