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

-- The process that watches an environment.
CREATE TABLE controller (
	env     TEXT PRIMARY KEY,
	id      TEXT NOT NULL, -- random, one for each start
	holder  TEXT NOT NULL, -- JSON
	since   INTEGER NOT NULL,
	beat    INTEGER NOT NULL, -- grows while it lives
	made    INTEGER NOT NULL, -- when that last grew
	next    TEXT NOT NULL, -- what it does next, or empty
	next_at INTEGER NOT NULL
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

-- What was measured of a monitor.
CREATE TABLE measurement (
	env     TEXT NOT NULL,
	monitor TEXT NOT NULL, -- unit
	number  INTEGER NOT NULL, -- of the monitor, from 1
	began   INTEGER NOT NULL, -- the window
	ended   INTEGER NOT NULL,
	made    INTEGER NOT NULL,
	verdict TEXT NOT NULL,
	reason  TEXT NOT NULL,
	report  TEXT NOT NULL, -- JSON, or empty
	PRIMARY KEY (env, monitor, number)
) STRICT, WITHOUT ROWID;

-- The record of a loop: what it did, what held it back, and what people told it to do.
CREATE TABLE loop_act (
	env      TEXT NOT NULL,
	loop     TEXT NOT NULL, -- unit
	number   INTEGER NOT NULL, -- of the loop, from 1
	made     INTEGER NOT NULL,
	act      TEXT NOT NULL,
	of_act   INTEGER NOT NULL, -- the act that this one ends, or 0
	identity TEXT NOT NULL, -- the person, empty for the loop itself
	reason   TEXT NOT NULL,
	cause    TEXT NOT NULL,
	revision INTEGER NOT NULL, -- or 0
	detail   TEXT NOT NULL, -- JSON, or empty
	PRIMARY KEY (env, loop, number)
) STRICT, WITHOUT ROWID;

-- What automation must not replace. One that was lifted stays in the record.
CREATE TABLE pin (
	env       TEXT NOT NULL,
	unit      TEXT NOT NULL, -- or an entity
	made      INTEGER NOT NULL,
	run_key   TEXT NOT NULL, -- of what is pinned
	revision  INTEGER NOT NULL, -- that deployed it
	identity  TEXT NOT NULL,
	reason    TEXT NOT NULL,
	lifted    INTEGER NOT NULL, -- 0 while it holds
	lifted_by TEXT NOT NULL,
	PRIMARY KEY (env, unit, made)
) STRICT, WITHOUT ROWID;
