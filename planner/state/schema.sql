-- Times are nanoseconds since 1970, 0 for none. A column env names an environment; the one
-- without a name is ''. Tables without it belong to all environments.

CREATE TABLE meta (
	id      INTEGER PRIMARY KEY CHECK (id = 1),
	lineage TEXT NOT NULL,
	serial  INTEGER NOT NULL, -- grows with every change
	system  TEXT NOT NULL,
	fence   INTEGER NOT NULL -- the last fencing token given out
) STRICT;

-- Serial grows with every change of what the environment sees.
CREATE TABLE environment (
	env    TEXT PRIMARY KEY,
	serial INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
	env      TEXT PRIMARY KEY, -- '*' excludes all others
	token    INTEGER NOT NULL,
	holder   TEXT NOT NULL, -- JSON
	acquired INTEGER NOT NULL,
	expires  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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
	tags     TEXT NOT NULL, -- JSON
	git      TEXT NOT NULL, -- the commit
	act      TEXT NOT NULL DEFAULT 'apply',
	back_to  INTEGER NOT NULL DEFAULT 0,
	moves    TEXT NOT NULL DEFAULT '', -- JSON
	standing TEXT NOT NULL DEFAULT '', -- digest of what was deployed at its end
	protection TEXT NOT NULL DEFAULT '', -- JSON: who changed a protected environment
	PRIMARY KEY (env, number)
) STRICT, WITHOUT ROWID;

-- Who approved a saved plan for a protected environment.
CREATE TABLE approval (
	env      TEXT NOT NULL,
	plan     TEXT NOT NULL, -- digest of the plan in its file
	identity TEXT NOT NULL,
	made     INTEGER NOT NULL,
	PRIMARY KEY (env, plan, identity)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	key        TEXT NOT NULL,
	unit       TEXT NOT NULL,
	definition TEXT NOT NULL,
	revision   INTEGER NOT NULL,
	outcome    TEXT NOT NULL,
	attempt    INTEGER NOT NULL,
	started    INTEGER NOT NULL,
	finished   INTEGER NOT NULL,
	inputs     TEXT NOT NULL, -- JSON
	metrics    TEXT NOT NULL, -- JSON
	cpu        INTEGER NOT NULL,
	peak_mem   INTEGER NOT NULL,
	error      TEXT NOT NULL,
	log        TEXT NOT NULL,
	devices     TEXT NOT NULL DEFAULT '', -- JSON: names of what it has to itself
	read_bytes  INTEGER NOT NULL DEFAULT 0,
	write_bytes INTEGER NOT NULL DEFAULT 0,
	prepared    INTEGER NOT NULL DEFAULT 0, -- nanoseconds before it began
	env         TEXT NOT NULL DEFAULT '' -- of its revision
) STRICT;
CREATE INDEX run_done ON run(key, unit, id) WHERE outcome = 'done';
CREATE INDEX run_unit ON run(unit, id);

CREATE TABLE output (
	run    INTEGER NOT NULL REFERENCES run(id),
	port   TEXT NOT NULL,
	digest TEXT NOT NULL,
	kind   TEXT NOT NULL,
	size   INTEGER NOT NULL,
	rows   INTEGER NOT NULL,
	PRIMARY KEY (run, port)
) STRICT, WITHOUT ROWID;
CREATE INDEX output_digest ON output(digest);

-- The journal: runs that were begun and not yet seen to end.
CREATE TABLE pending (
	run    INTEGER PRIMARY KEY REFERENCES run(id),
	handle TEXT NOT NULL -- JSON, or empty
) STRICT;

-- The current IR of each unit, separate because it is large and seldom
-- read, the unit as it was applied.
CREATE TABLE current (
	env        TEXT NOT NULL,
	unit       TEXT NOT NULL,
	kind       TEXT NOT NULL,
	definition TEXT NOT NULL,
	key        TEXT NOT NULL,
	revision   INTEGER NOT NULL,
	handle     TEXT NOT NULL, -- JSON, or empty
	since      INTEGER NOT NULL,
	run        INTEGER NOT NULL DEFAULT 0, -- whose result it is
	route      TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (env, unit)
) STRICT, WITHOUT ROWID;
CREATE TABLE applied (
	env  TEXT NOT NULL,
	unit TEXT NOT NULL,
	ir   TEXT NOT NULL, -- JSON
	PRIMARY KEY (env, unit)
) STRICT;

-- How long the last few runs took, newest first, so that an estimate does not
-- read the history.
CREATE TABLE took (
	unit TEXT PRIMARY KEY,
	last TEXT NOT NULL, -- nanoseconds, comma-separated
	prepared INTEGER NOT NULL DEFAULT 0 -- nanoseconds, the last time that something was prepared for it
) STRICT, WITHOUT ROWID;

CREATE TABLE model (
	model   TEXT NOT NULL,
	version INTEGER NOT NULL,
	digest  TEXT NOT NULL,
	key     TEXT NOT NULL,
	metrics TEXT NOT NULL, -- JSON
	created INTEGER NOT NULL,
	PRIMARY KEY (model, version)
) STRICT, WITHOUT ROWID;
-- The versions of a model that an environment has registered: the one with the highest rank
-- is in service there.
CREATE TABLE registered (
	env     TEXT NOT NULL,
	model   TEXT NOT NULL,
	version INTEGER NOT NULL,
	rank    INTEGER NOT NULL,
	PRIMARY KEY (env, model, version)
) STRICT, WITHOUT ROWID;

-- Units that came out otherwise when they were run again on the same inputs.
CREATE TABLE unstable (
	unit       TEXT PRIMARY KEY,
	definition TEXT NOT NULL,
	revision   INTEGER NOT NULL, -- whose audit found it
	ports      TEXT NOT NULL,    -- JSON
	env        TEXT NOT NULL DEFAULT '' -- of that revision
) STRICT, WITHOUT ROWID;
