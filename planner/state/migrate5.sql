-- From layout 5 to 6.
CREATE TABLE controller (
	env     TEXT PRIMARY KEY,
	id      TEXT NOT NULL,
	holder  TEXT NOT NULL,
	since   INTEGER NOT NULL,
	beat    INTEGER NOT NULL,
	made    INTEGER NOT NULL,
	next    TEXT NOT NULL,
	next_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE measurement (
	env     TEXT NOT NULL,
	monitor TEXT NOT NULL,
	number  INTEGER NOT NULL,
	began   INTEGER NOT NULL,
	ended   INTEGER NOT NULL,
	made    INTEGER NOT NULL,
	verdict TEXT NOT NULL,
	reason  TEXT NOT NULL,
	report  TEXT NOT NULL,
	PRIMARY KEY (env, monitor, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE loop_act (
	env      TEXT NOT NULL,
	loop     TEXT NOT NULL,
	number   INTEGER NOT NULL,
	made     INTEGER NOT NULL,
	act      TEXT NOT NULL,
	of_act   INTEGER NOT NULL,
	identity TEXT NOT NULL,
	reason   TEXT NOT NULL,
	cause    TEXT NOT NULL,
	revision INTEGER NOT NULL,
	detail   TEXT NOT NULL,
	PRIMARY KEY (env, loop, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE pin (
	env       TEXT NOT NULL,
	unit      TEXT NOT NULL,
	made      INTEGER NOT NULL,
	run_key   TEXT NOT NULL,
	revision  INTEGER NOT NULL,
	identity  TEXT NOT NULL,
	reason    TEXT NOT NULL,
	lifted    INTEGER NOT NULL,
	lifted_by TEXT NOT NULL,
	PRIMARY KEY (env, unit, made)
) STRICT, WITHOUT ROWID;
