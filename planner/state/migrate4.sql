-- From layout 4 to 5. What was recorded before belongs to the environment without a name.
CREATE TABLE environment (
	env    TEXT PRIMARY KEY,
	serial INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO environment(env, serial) SELECT '', serial FROM meta;

DROP TABLE lease;
CREATE TABLE lease (
	env      TEXT PRIMARY KEY,
	token    INTEGER NOT NULL,
	holder   TEXT NOT NULL,
	acquired INTEGER NOT NULL,
	expires  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE revision RENAME TO revision4;
CREATE TABLE revision (
	env      TEXT NOT NULL,
	number   INTEGER NOT NULL,
	system   TEXT NOT NULL,
	target   TEXT NOT NULL,
	started  INTEGER NOT NULL,
	finished INTEGER NOT NULL,
	outcome  TEXT NOT NULL,
	ir       TEXT NOT NULL,
	plan     TEXT NOT NULL,
	tags     TEXT NOT NULL,
	git      TEXT NOT NULL,
	act      TEXT NOT NULL DEFAULT 'apply',
	back_to  INTEGER NOT NULL DEFAULT 0,
	moves    TEXT NOT NULL DEFAULT '',
	standing TEXT NOT NULL DEFAULT '',
	protection TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (env, number)
) STRICT, WITHOUT ROWID;
INSERT INTO revision SELECT '', number, system, target, started, finished, outcome, ir, plan, tags, git, act, back_to, moves, standing, '' FROM revision4;
DROP TABLE revision4;

CREATE TABLE approval (
	env      TEXT NOT NULL,
	plan     TEXT NOT NULL,
	identity TEXT NOT NULL,
	made     INTEGER NOT NULL,
	PRIMARY KEY (env, plan, identity)
) STRICT, WITHOUT ROWID;

ALTER TABLE run ADD COLUMN env TEXT NOT NULL DEFAULT '';

ALTER TABLE current RENAME TO current4;
CREATE TABLE current (
	env        TEXT NOT NULL,
	unit       TEXT NOT NULL,
	kind       TEXT NOT NULL,
	definition TEXT NOT NULL,
	key        TEXT NOT NULL,
	revision   INTEGER NOT NULL,
	handle     TEXT NOT NULL,
	since      INTEGER NOT NULL,
	run        INTEGER NOT NULL DEFAULT 0,
	route      TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (env, unit)
) STRICT, WITHOUT ROWID;
INSERT INTO current SELECT '', unit, kind, definition, key, revision, handle, since, run, '' FROM current4;
DROP TABLE current4;

ALTER TABLE applied RENAME TO applied4;
CREATE TABLE applied (
	env  TEXT NOT NULL,
	unit TEXT NOT NULL,
	ir   TEXT NOT NULL,
	PRIMARY KEY (env, unit)
) STRICT;
INSERT INTO applied SELECT '', unit, ir FROM applied4;
DROP TABLE applied4;

CREATE TABLE registered (
	env     TEXT NOT NULL,
	model   TEXT NOT NULL,
	version INTEGER NOT NULL,
	rank    INTEGER NOT NULL,
	PRIMARY KEY (env, model, version)
) STRICT, WITHOUT ROWID;
INSERT INTO registered SELECT '', model, version, rank FROM model;
ALTER TABLE model DROP COLUMN rank;

ALTER TABLE unstable ADD COLUMN env TEXT NOT NULL DEFAULT '';
