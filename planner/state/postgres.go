package state

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

const (
	// outage is how long to wait for a server that went away: it is restarted, or another
	// one takes its place.
	outage     = time.Minute
	outagePoll = 200 * time.Millisecond
	// restoreSchema is the remedy when the state in a schema is lost.
	restoreSchema = "restore it from a backup; without one, stop what still runs and drop the schema to start over"
	// defaultSchema is the schema of a URL that does not name one.
	defaultSchema = "tenon"
)

// IsURL reports whether where is the URL of a state in a PostgreSQL database:
// postgres://USER@HOST:PORT/DATABASE?schema=NAME. Every part is optional; libpq's
// variables and files, such as PGHOST, PGPASSFILE or PGSERVICE, provide the rest. A
// schema holds one state: [defaultSchema] unless the URL names another.
func IsURL(where string) bool {
	return strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://")
}

// A postgres is a schema of a database on a server.
type postgres struct {
	where  string // without the password
	user   string
	base   string // name of the database
	schema string
	write  *sql.DB
	outage time.Duration // how long to wait for the server

	mu   sync.Mutex
	away time.Time // since when the server has not answered; zero if it has
}

func openPostgres(where string) (*Store, error) {
	config, schema, err := parse(where)
	if err != nil {
		return nil, err
	}
	p := &postgres{where: display(config, schema), user: config.User, base: config.Database, schema: schema, outage: outage}
	s := &Store{where: p.where, database: p, layout: p, now: time.Now, mu: new(sync.Mutex)}
	// The server's own setting may be weaker than what a lease promises.
	durable := stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
		return err
	})
	s.write = sql.OpenDB(connector{stdlib.GetConnector(*config, durable)})
	s.write.SetMaxOpenConns(1)
	p.write = s.write
	reading := config.Copy()
	reading.RuntimeParams["default_transaction_read_only"] = "on"
	s.read = sql.OpenDB(connector{stdlib.GetConnector(*reading)})
	s.read.SetMaxOpenConns(4)
	s.read.SetMaxIdleConns(4)
	return s, nil
}

var schemaName = lazyregexp.New(`^[a-z_][a-z0-9_]{0,62}$`)

// parse parses a URL. The schema parameter is ours; libpq's rules apply to the rest.
func parse(where string) (*pgx.ConnConfig, string, error) {
	base, query, _ := strings.Cut(where, "?")
	params, err := url.ParseQuery(query)
	if err != nil {
		return nil, "", unreadable(where, err)
	}
	schema := cmp.Or(params.Get("schema"), defaultSchema)
	if strings.Contains(query, "@") { // a password that contains a question mark
		return nil, "", unreadable(where, nil)
	}
	if !schemaName.MatchString(schema) || strings.HasPrefix(schema, "pg_") || schema == "information_schema" {
		return nil, "", fmt.Errorf("open state: schema=%s is not a valid schema name: use up to 63 lower-case letters, digits and _, not starting with a digit", schema)
	}
	params.Del("schema")
	if len(params) > 0 {
		base += "?" + params.Encode()
	}
	config, err := pgx.ParseConfig(base)
	if err != nil {
		return nil, "", unreadable(where, err)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = busyTimeout
	}
	for name, value := range map[string]string{
		"application_name": "tenon",
		// A process that was stopped in the middle of a transaction must not block
		// others.
		"idle_in_transaction_session_timeout": strconv.FormatInt(busyTimeout.Milliseconds(), 10),
		"lock_timeout":                        strconv.FormatInt(busyTimeout.Milliseconds(), 10),
	} {
		config.RuntimeParams[name] = cmp.Or(config.RuntimeParams[name], value)
	}
	config.RuntimeParams["search_path"] = quoted(schema)
	return config, schema, nil
}

// unreadable says what is wrong with a URL, unless that could reveal a password.
func unreadable(where string, err error) error {
	if strings.ContainsAny(where, "@%") || strings.Contains(where, "password") {
		err = errors.New("in a user or password, percent-encode all characters except letters and digits, or use PGPASSFILE or PGPASSWORD for the password")
	}
	return fmt.Errorf("open state: invalid URL of the database: %w", err)
}

// Shown returns where a state is, for display: without a password.
func Shown(where string) string {
	if !IsURL(where) {
		return where
	}
	config, schema, err := parse(where)
	if err != nil {
		return "a database"
	}
	return display(config, schema)
}

// display returns the URL without secrets.
func display(c *pgx.ConnConfig, schema string) string {
	var hosts []string
	socket := ""
	add := func(host string, port uint16) {
		if strings.HasPrefix(host, "/") {
			socket = fmt.Sprintf("host=%s&port=%d&", host, port)
		} else if at := net.JoinHostPort(host, strconv.Itoa(int(port))); !slices.Contains(hosts, at) {
			hosts = append(hosts, at)
		}
	}
	add(c.Host, c.Port)
	for _, f := range c.Fallbacks {
		add(f.Host, f.Port)
	}
	return fmt.Sprintf("postgres://%s@%s/%s?%sschema=%s", c.User, strings.Join(hosts, ","), c.Database, socket, schema)
}

func quoted(schema string) string { return `"` + schema + `"` }

// sync has nothing to do: every commit waits for the disk, see [openPostgres].
func (p *postgres) sync() error { return nil }

// begin locks the row that every write changes, so that writers come one after the other,
// as they do in SQLite. Later reads of the transaction see what the previous writer left,
// because each statement of READ COMMITTED sees what was committed when it began: a lease
// found valid stays valid until the commit. Only the renewal and the release of a lease
// work without this lock. They change the lease's row only if it still has their token,
// which the server checks again if it had to wait for that row: so they never undo a
// takeover.
//
// Once begin has the row, no earlier transaction of another connection is still
// uncommitted.
func (p *postgres) begin(ctx context.Context) (*sql.Tx, error) {
	tx, err := p.write.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, "SELECT FROM meta FOR UPDATE"); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return tx, nil
}

// try retries f while the server is away, until the outage is over. All calls share one
// outage: of many calls in sequence only the first one waits.
func (p *postgres) try(ctx context.Context, f func(context.Context) error) error {
	for {
		began := time.Now()
		err := within(ctx, p.outage, f)
		since := p.answered(began, ctx.Err() != nil || !transient(err))
		if torn := (*tornError)(nil); since.IsZero() || errors.As(err, &torn) || time.Since(since) >= p.outage {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(outagePoll):
		}
	}
}

func within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

// answered notes whether the server answered the call that began at began, and returns
// since when it has not answered.
func (p *postgres) answered(began time.Time, yes bool) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if yes {
		p.away = time.Time{}
	} else if p.away.IsZero() {
		p.away = began
	}
	return p.away
}

// transient reports whether the server could not be reached, or could not continue, but
// may soon be able to.
func transient(err error) bool {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		switch answer.Code {
		case "57P01", "57P02", "57P03", // it is stopping or starting
			"53300",          // it has too many connections
			"55P03",          // another writer took too long
			"25P03",          // we took too long
			"40001", "40P01": // it rolled back one of several transactions
			return true
		}
		return strings.HasPrefix(answer.Code, "08") // the connection was lost
	}
	var refused *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &refused) || errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, pgconn.ErrConnClosed)
}

func (p *postgres) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	lost := &LostError{Path: p.where, Gone: p.where, Used: true, Remedy: restoreSchema}
	if errors.Is(err, errReplaced) {
		return lost
	}
	refused := func(remedy string, args ...any) error {
		return &AccessError{Path: p.where, Err: inShort(err), Remedy: fmt.Sprintf(remedy, args...)}
	}
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		switch answer.Code {
		case "28P01", "28000":
			return refused("check the user, the password (in PGPASSWORD, PGPASSFILE or the URL) and what the server's pg_hba.conf allows")
		case "3D000":
			return refused("create it with createdb %s", p.base)
		case "42501":
			return refused("the user %q needs more rights: CREATE on the database %q to make the schema %q, or SELECT, INSERT, UPDATE and DELETE on its tables", p.user, p.base, p.schema)
		case "25006":
			return refused("it is a read-only replica: use the primary server, or several servers with target_session_attrs=read-write")
		case "3F000", "42P01":
			return lost
		case "53100":
			return fmt.Errorf("%s: no space left on the disk of %s: free some and try again: %w", doing, p.where, err)
		case "55P03":
			return fmt.Errorf("%s: %s is busy: another process has been writing for longer than %s: %w", doing, p.where, busyTimeout, err)
		case "XX001", "XX002":
			return &DamagedError{Path: p.where, Err: inShort(err), Remedy: restoreSchema}
		}
	}
	if transient(err) {
		e := &UnreachableError{Path: p.where, Doing: doing, Err: inShort(err)}
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.away.IsZero() {
			e.After = time.Since(p.away).Round(time.Second)
		}
		return e
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// inShort removes what the name of the state already says.
func inShort(err error) error {
	var answer *pgconn.PgError
	var dial *net.OpError
	var name *net.DNSError
	text := ""
	switch {
	case errors.As(err, &answer):
		text = answer.Message
	case errors.As(err, &name):
		text = "lookup " + name.Name + ": " + name.Err
	case errors.As(err, &dial):
		text = dial.Err.Error()
	default:
		text = strings.Join(strings.Fields(err.Error()), " ")
	}
	return &shortError{text, err}
}

type shortError struct {
	text string
	err  error
}

func (e *shortError) Error() string { return e.text }
func (e *shortError) Unwrap() error { return e.err }

// The table tenon marks the schema as Tenon's, and holds its layout version.
func (p *postgres) version(ctx context.Context, q querier) (int, error) {
	_, tables, ours, err := p.look(ctx, q)
	if err == nil && !ours {
		if tables {
			return 0, fmt.Errorf("open state: the schema %q of %s belongs to another program: use another one with ?schema=NAME", p.schema, p.where)
		}
		return 0, nil
	}
	var version int
	if err == nil {
		err = q.QueryRowContext(ctx, "SELECT layout FROM "+quoted(p.schema)+".tenon").Scan(&version)
	}
	if err != nil {
		return 0, p.explain("open state", err)
	}
	return known(p.where, restoreSchema, version)
}

// look reports what exists of the schema. Only the catalog itself shows what others just
// committed.
func (p *postgres) look(ctx context.Context, q querier) (there, tables, ours bool, err error) {
	err = q.QueryRowContext(ctx, `SELECT count(*) > 0, count(relname) > 0, count(*) FILTER (WHERE relname = 'tenon') > 0
		FROM pg_namespace n LEFT JOIN pg_class ON relnamespace = n.oid WHERE nspname = ?`, p.schema).Scan(&there, &tables, &ours)
	return there, tables, ours, err
}

func (p *postgres) alone(ctx context.Context) (*sql.Tx, error) {
	tx, err := p.write.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	if err := p.makeSchema(ctx, tx); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return tx, nil
}

func (p *postgres) makeSchema(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtext(?))", "tenon "+p.schema); err != nil {
		return err
	}
	there, _, ours, err := p.look(ctx, tx)
	switch {
	case err != nil:
	case !there: // even IF NOT EXISTS needs the privilege to create
		_, err = tx.ExecContext(ctx, "CREATE SCHEMA "+quoted(p.schema))
	case ours:
		_, err = tx.ExecContext(ctx, "SELECT FROM meta FOR UPDATE")
	}
	return err
}

func (p *postgres) mark(ctx context.Context, tx *sql.Tx, version int) error {
	_, err := tx.ExecContext(ctx, fmt.Sprintf("CREATE TABLE IF NOT EXISTS tenon (layout INTEGER NOT NULL); DELETE FROM tenon; INSERT INTO tenon VALUES (%d)", version))
	return err
}

// A connector opens connections that translate their statements.
type connector struct{ driver.Connector }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return translated{conn.(*stdlib.Conn)}, nil
}

type translated struct{ *stdlib.Conn }

func (c translated) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return c.Conn.PrepareContext(ctx, translate(query))
}

func (c translated) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.ExecContext(ctx, translate(query), args)
}

func (c translated) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.Conn.QueryContext(ctx, translate(query), args)
}

// words maps the terms of SQLite that are used here to those of PostgreSQL, where these
// differ. Text is compared by its bytes.
var words = strings.NewReplacer(
	"INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
	"INTEGER", "BIGINT",
	"TEXT", `TEXT COLLATE "C"`,
	" STRICT, WITHOUT ROWID", "",
	" STRICT", "",
	"json_each(", "json_each_text(",
)

var placeholder = lazyregexp.New(`\?(\d*)`)

// translate turns a statement for SQLite into one for PostgreSQL. Everything else in the
// statements has the same meaning in both.
func translate(query string) string {
	n := 0
	return placeholder.ReplaceAllStringFunc(words.Replace(query), func(mark string) string {
		if mark != "?" {
			return "$" + mark[1:]
		}
		n++
		return "$" + strconv.Itoa(n)
	})
}
