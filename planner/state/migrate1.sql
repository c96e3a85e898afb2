-- From layout 1 to 2. What layout 1 did not record stays empty: such a revision
-- cannot be rolled back to. The newest version of a model was the one in service.
ALTER TABLE revision ADD COLUMN act TEXT NOT NULL DEFAULT 'apply';
ALTER TABLE revision ADD COLUMN back_to INTEGER NOT NULL DEFAULT 0;
ALTER TABLE revision ADD COLUMN moves TEXT NOT NULL DEFAULT '';
ALTER TABLE revision ADD COLUMN standing TEXT NOT NULL DEFAULT '';
ALTER TABLE current ADD COLUMN run INTEGER NOT NULL DEFAULT 0;
UPDATE current SET run = coalesce(
	(SELECT max(id) FROM run WHERE key = current.key AND unit = current.unit AND outcome = 'done'),
	(SELECT max(id) FROM run WHERE key = current.key AND outcome = 'done'), 0);
ALTER TABLE model ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
UPDATE model SET rank = version;
CREATE TABLE unstable (
	unit       TEXT PRIMARY KEY,
	definition TEXT NOT NULL,
	revision   INTEGER NOT NULL,
	ports      TEXT NOT NULL
) STRICT, WITHOUT ROWID;
