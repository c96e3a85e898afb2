package engine

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Tables returns a database with Parquet files as views, each known by its name, for a caller who asks
// many questions about them. Several files are one table; a column that one of them lacks is NULL
// there. The database reads nothing else, and done closes it.
func Tables(ctx context.Context, tables map[string][]string, l Limits) (db *sql.DB, done func(), err error) {
	s, err := open(ctx, l)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	var paths []string
	// Other connections of the database have their own settings, and see no temporary view. Questions
	// about a whole table need no order of its rows, which would slow them down.
	if err := s.exec(ctx, "SET GLOBAL TimeZone = 'UTC'; SET GLOBAL preserve_insertion_order = false"); err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		if len(tables[name]) == 0 {
			return nil, nil, fmt.Errorf("table %q has no files", name)
		}
		var selects []string
		for _, path := range tables[name] {
			if _, err := s.parquetColumns(ctx, path); err != nil {
				return nil, nil, fmt.Errorf("table %q: %w", name, err)
			}
			selects = append(selects, "SELECT * FROM "+parquet(path))
			paths = append(paths, path)
		}
		if err := s.exec(ctx, "CREATE VIEW "+ident(name)+" AS "+strings.Join(selects, " UNION ALL BY NAME ")); err != nil {
			return nil, nil, fmt.Errorf("table %q: %w", name, err)
		}
	}
	if err := s.restrict(ctx, paths...); err != nil {
		return nil, nil, err
	}
	return s.db, s.close, nil
}

// SelectOnly returns the text of a query up to the end of its statement, and refuses anything that
// is not one SELECT.
func SelectOnly(query string) (string, error) { return selectOnly(query) }
