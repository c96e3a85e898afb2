package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"

	duckdb "github.com/duckdb/duckdb-go/v2"
)

// WithFiles calls f with a database that can read and write the given files and nothing else. The database starts with
// the first query: what needs none takes no time.
func WithFiles(ctx context.Context, paths []string, f func(*sql.DB) error) (err error) {
	c := &lazy{}
	c.start = sync.OnceValue(func() error {
		s, err := open(ctx, Limits{})
		if err != nil {
			return err
		}
		c.session = s
		return s.restrict(ctx, paths...)
	})
	db := sql.OpenDB(c)
	defer func() { err = errors.Join(err, db.Close()) }()
	return f(db)
}

// lazy connects to a session, which it starts first.
type lazy struct {
	start   func() error
	session *session // nil before the start
}

// Connect implements [driver.Connector].
func (c *lazy) Connect(ctx context.Context) (driver.Conn, error) {
	if err := c.start(); err != nil {
		return nil, err
	}
	return c.session.connector.Connect(ctx)
}

// Driver implements [driver.Connector].
func (c *lazy) Driver() driver.Driver { return duckdb.Driver{} }

// Close ends the session. The database calls it after it has closed all connections.
func (c *lazy) Close() error {
	if c.session != nil {
		c.session.close()
	}
	return nil
}
