package state_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/planner/state"
)

// The error names an unusable database, with the user and the remedy, and without the
// password.
func TestOpenRefusesADatabase(t *testing.T) {
	server := postgrestest.Start(t)
	for _, statement := range []string{
		"CREATE ROLE reader LOGIN PASSWORD '" + postgrestest.Password + "'",
		"CREATE DATABASE closed",
		"CREATE SCHEMA other",
		"CREATE TABLE other.orders (id BIGINT)",
	} {
		ok(t, server.Exec(t.Context(), statement))
	}
	at := fmt.Sprintf("127.0.0.1:%d", server.Port)
	with := func(user, password, rest string) string {
		return "postgres://" + user + ":" + password + "@" + at + rest
	}
	newer := server.URL()
	open(t, newer)
	ok(t, server.Exec(t.Context(), "UPDATE "+schemaOf(newer)+".tenon SET layout = 7"))
	unknown := server.URL()
	open(t, unknown)
	ok(t, server.Exec(t.Context(), "UPDATE "+schemaOf(unknown)+".tenon SET layout = 0"))
	mine := server.URL()
	open(t, mine)
	for _, tt := range []struct {
		name  string
		where string
		want  []string
	}{
		{"nobody listens", "postgres://tenon:" + postgrestest.Password + "@127.0.0.1:1/postgres",
			[]string{"cannot reach the state postgres://tenon@127.0.0.1:1/postgres?schema=tenon: connect: connection refused"}},
		{"no such host", "postgres://tenon@db.invalid/postgres",
			[]string{"cannot reach the state postgres://tenon@db.invalid:5432/postgres", "lookup db.invalid"}},
		{"a wrong password", with("tenon", "wr0ng", "/postgres"),
			[]string{"cannot open the state postgres://tenon@" + at + "/postgres", "password authentication failed", "PGPASSFILE"}},
		{"no such user", with("nobody", postgrestest.Password, "/postgres"),
			[]string{"postgres://nobody@" + at, "password authentication failed"}},
		{"no such database", with("tenon", postgrestest.Password, "/none"),
			[]string{`database "none" does not exist`, "create it with createdb none"}},
		{"no right to make the schema", with("reader", postgrestest.Password, "/closed"),
			[]string{"postgres://reader@" + at + "/closed?schema=tenon", "permission denied for database closed", `the user "reader" needs more rights: CREATE on the database "closed"`}},
		{"no right to read", with("reader", postgrestest.Password, "/postgres?schema="+schemaOf(mine)),
			[]string{"permission denied for schema " + schemaOf(mine), `the user "reader" needs more rights`}},
		{"another program's schema", with("tenon", postgrestest.Password, "/postgres?schema=other"),
			[]string{`the schema "other" of postgres://tenon@` + at, "use another one with ?schema=NAME"}},
		{"an invalid schema", with("tenon", postgrestest.Password, "/postgres?schema=a;b"),
			[]string{"invalid URL of the database"}},
		{"a schema of the server's", with("tenon", postgrestest.Password, "/postgres?schema=pg_catalog"),
			[]string{"schema=pg_catalog is not a valid schema name"}},
		{"a password that is not escaped", with("tenon", "s3cret-%zz/of?the#test", "/postgres"),
			[]string{"invalid URL of the database: in a user or password", "PGPASSFILE"}},
		{"a question mark in a password", "postgres://tenon:a?schema=s3cret@" + at + "/postgres",
			[]string{"invalid URL of the database: in a user or password"}},
		{"an invalid option", "postgres://127.0.0.1/postgres?sslmode=sometimes",
			[]string{"invalid URL of the database", "sslmode is invalid"}},
		{"no encryption where it is asked for", with("tenon", postgrestest.Password, "/postgres?sslmode=require"),
			[]string{"cannot reach the state", "TLS"}},
		{"a newer layout", newer, []string{"state was written by a newer tenon (layout 7, this one supports 6): upgrade tenon"}},
		{"an unknown layout", unknown, []string{"is damaged: unknown layout 0", "restore it from a backup", "drop the schema"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := state.Open(t.Context(), tt.where)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
			for _, secret := range []string{postgrestest.Password, "wr0ng", "s3cret"} {
				if shown := err.Error() + state.Shown(tt.where); strings.Contains(shown, secret) {
					t.Errorf("%q contains the password", shown)
				}
			}
		})
	}
}

func schemaOf(where string) string {
	_, schema, _ := strings.Cut(where, "schema=")
	return schema
}

// The user's privileges in the database are sufficient: a writer need not own the tables,
// and a user who may only read can inspect the state.
func TestSufficientRights(t *testing.T) {
	ctx := t.Context()
	server := postgrestest.Start(t)
	where := server.URL()
	open(t, where)
	schema := schemaOf(where)
	for _, statement := range []string{
		"CREATE ROLE writer LOGIN PASSWORD 'w'",
		"CREATE ROLE reader LOGIN PASSWORD 'r'",
		"GRANT USAGE ON SCHEMA " + schema + " TO writer, reader",
		"GRANT SELECT ON ALL TABLES IN SCHEMA " + schema + " TO reader",
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA " + schema + " TO writer",
	} {
		ok(t, server.Exec(ctx, statement))
	}
	as := func(user string) string {
		return strings.Replace(where, "tenon:"+postgrestest.Password, user+":"+user[:1], 1)
	}
	l := lock(t, open(t, as("writer")))
	finish(t, l, unit("a"), "k", noon, time.Second, nil)
	must[int](t)(l.BeginRevision(ctx, state.Revision{}))
	ok(t, l.Prune(ctx, state.Pruning{Before: map[string]int{"": 2}}))
	s := open(t, as("reader"))
	if len(must[map[string]state.Current](t)(s.Current(ctx))) != 1 {
		t.Error("a reader does not see the current units")
	}
	ok(t, l.Release(ctx))
	var access *state.AccessError
	if _, err := s.Lock(ctx, state.Holder{}, state.LockOptions{}); !errors.As(err, &access) {
		t.Errorf("a reader takes the lock: %v", err)
	}
}

// The variables and files of libpq provide what the URL omits.
func TestTheEnvironmentCompletesAURL(t *testing.T) {
	where := postgrestest.URL(t)
	u, err := url.Parse(where)
	ok(t, err)
	for name, value := range map[string]string{"PGHOST": u.Hostname(), "PGPORT": u.Port(), "PGUSER": "tenon", "PGPASSWORD": postgrestest.Password, "PGDATABASE": "postgres"} {
		t.Setenv(name, value)
	}
	s := open(t, "postgres://?schema="+schemaOf(where))
	if want := "postgres://tenon@" + u.Host + "/postgres?schema=" + schemaOf(where); s.Where() != want {
		t.Errorf("it is %s, want %s", s.Where(), want)
	}
	passfile := filepath.Join(t.TempDir(), "pgpass")
	ok(t, os.WriteFile(passfile, []byte("*:*:*:tenon:"+postgrestest.Password+"\n"), 0o600))
	t.Setenv("PGPASSWORD", "")
	t.Setenv("PGPASSFILE", passfile)
	open(t, "postgresql:///?schema="+schemaOf(where))
}

func TestStatesInOneDatabaseDoNotSeeEachOther(t *testing.T) {
	ctx := t.Context()
	one, two := open(t, postgrestest.URL(t)), open(t, postgrestest.URL(t))
	finish(t, lock(t, one), unit("a"), "k", noon, time.Second, nil)
	l := lock(t, two) // it has a lock of its own
	if len(must[map[string]state.Current](t)(two.Current(ctx))) != 0 {
		t.Error("the current units of one state are those of the other")
	}
	if n := must[int](t)(l.BeginRevision(ctx, state.Revision{})); n != 1 {
		t.Errorf("the first revision is %d", n)
	}
	if must[state.Meta](t)(one.Meta(ctx)).Lineage == must[state.Meta](t)(two.Meta(ctx)).Lineage {
		t.Error("they have one lineage")
	}
}

// Writes wait for a server that is killed and restarted: they are written once, and
// earlier writes are there.
func TestWritesWaitForAServerThatComesBack(t *testing.T) {
	ctx := t.Context()
	server := postgrestest.Start(t)
	s := open(t, server.URL())
	l := lock(t, s)
	u := unit("a/b/c")
	for i := range 5 {
		r := state.Run{Key: fmt.Sprint(i), Unit: u.ID, Attempt: 1}
		r.ID = must[int64](t)(l.Begin(ctx, r))
		ok(t, server.Kill())
		restarted := make(chan error)
		go func() { restarted <- server.Restart() }()
		if i%2 == 0 {
			ok(t, <-restarted) // the connections are dead nevertheless
		}
		if _, err := s.Run(ctx, r.ID); err != nil {
			t.Error(err)
		}
		ok(t, l.Check(ctx))
		r.Outcome = state.Done
		ok(t, l.Finish(ctx, r, u, &state.Current{Unit: u.ID, Key: r.Key}))
		if i%2 != 0 {
			ok(t, <-restarted)
		}
	}
	if runs := must[[]state.Run](t)(s.Runs(ctx, "", 0)); len(runs) != 5 || len(must[[]state.Pending](t)(s.Pending(ctx))) != 0 {
		t.Errorf("%d runs, want 5 that are all ended", len(runs))
	}
	if m := must[state.Meta](t)(s.Meta(ctx)); m.Serial != 10 {
		t.Errorf("serial %d after ten writes", m.Serial)
	}
	ok(t, server.Kill())
	restarted := make(chan error)
	go func() { restarted <- server.Restart() }()
	ok(t, l.Release(ctx))
	ok(t, <-restarted)
}

// A server that stays away gives an error, also for all later calls; when it returns, the
// lease is unchanged.
func TestUnreachableServer(t *testing.T) {
	ctx := t.Context()
	server := postgrestest.Start(t)
	s := open(t, server.URL())
	state.SetOutage(s, 2*time.Second)
	l := lock(t, s)
	must[int64](t)(l.Begin(ctx, state.Run{Key: "1", Unit: "a"}))
	ok(t, server.Kill())
	began := time.Now()
	var tries []time.Duration
	for range 3 {
		_, err := l.Begin(ctx, state.Run{Key: "2", Unit: "a"})
		var away *state.UnreachableError
		if !errors.As(err, &away) || away.After < 2*time.Second || strings.Contains(err.Error(), postgrestest.Password) {
			t.Fatalf("got %v, want UnreachableError", err)
		}
		tries = append(tries, time.Since(began))
	}
	if later := tries[2] - tries[0]; later > tries[0] {
		t.Errorf("the first waited for %s, and those after it for %s", tries[0], later)
	}
	if _, err := s.Current(ctx); err == nil {
		t.Error("read from a server that is away")
	}
	ok(t, server.Restart())
	must[int64](t)(l.Begin(ctx, state.Run{Key: "3", Unit: "a"}))
	if runs := must[[]state.Run](t)(s.Runs(ctx, "", 0)); len(runs) != 2 {
		t.Errorf("%d runs, want the two that were taken", len(runs))
	}
}

func TestAWaitForAServerEndsWithTheContext(t *testing.T) {
	server := postgrestest.Start(t)
	l := lock(t, open(t, server.URL()))
	ok(t, server.Kill())
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(stop) })
	if _, err := l.Begin(ctx, state.Run{}); !errors.Is(err, stop) {
		t.Errorf("got %v, want the cause", err)
	}
	ok(t, server.Restart()) // so that the lock can be released
}

// While the server is away a holder cannot renew its lease. A waiting process does not
// count that time.
func TestOutageDoesNotReleaseTheLock(t *testing.T) {
	const ttl = 2 * time.Second
	ctx := t.Context()
	server := postgrestest.Start(t)
	where := server.URL()
	l, err := open(t, where).Lock(ctx, state.Holder{Host: "elsewhere", PID: 1}, state.LockOptions{TTL: ttl})
	ok(t, err)
	waiter := open(t, where)
	waited := make(chan error)
	go func() {
		_, err := waiter.Lock(ctx, state.Holder{}, state.LockOptions{Wait: 2 * ttl})
		waited <- err
	}()
	time.Sleep(ttl / 2) // it is being watched
	ok(t, server.Kill())
	time.Sleep(ttl)
	ok(t, server.Restart())
	var held *state.HeldError
	if err := <-waited; !errors.As(err, &held) {
		t.Errorf("got %v, want HeldError", err)
	}
	ok(t, l.Check(ctx))
	ok(t, l.Release(ctx))
}

// A commit whose response is lost is neither repeated nor lost, whether or not it
// succeeded on the server.
func TestCommitWithoutAnAnswer(t *testing.T) {
	ctx := t.Context()
	where := postgrestest.URL(t)
	u, err := url.Parse(where)
	ok(t, err)
	for _, cut := range []string{"before", "after", "late"} {
		t.Run(cut, func(t *testing.T) {
			where := postgrestest.URL(t)
			p := newProxy(t, u.Host, cut)
			s := open(t, strings.Replace(where, u.Host, p.addr, 1))
			direct := open(t, where)
			p.arm()
			l := lock(t, s)
			if n := must[state.Meta](t)(direct.Meta(ctx)).Serial; n != 0 {
				t.Errorf("serial %d after the lock", n)
			}
			for i := range 3 {
				p.arm()
				if n := must[int](t)(l.BeginRevision(ctx, state.Revision{System: "x"})); n != i+1 {
					t.Errorf("revision %d is %d", i+1, n)
				}
			}
			p.arm()
			id := must[int64](t)(l.Begin(ctx, state.Run{Key: "k", Unit: "a"}))
			if r := must[*state.Run](t)(direct.Run(ctx, id)); r.Key != "k" {
				t.Errorf("run %+v", r)
			}
			p.arm()
			ok(t, l.Finish(ctx, state.Run{ID: id, Unit: "a", Outcome: state.Failure}, nil, nil))
			if n := p.cuts.Load(); n != 6 {
				t.Fatalf("%d commits were cut, want all 6", n)
			}
			if rs := must[[]state.Revision](t)(direct.Revisions(ctx, 0)); len(rs) != 3 {
				t.Errorf("%d revisions, want 3", len(rs))
			}
			if m := must[state.Meta](t)(direct.Meta(ctx)); m.Serial != 5 {
				t.Errorf("serial %d after five writes", m.Serial)
			}
			ok(t, l.Release(ctx))
			l2 := lock(t, direct)
			if l2.Token() <= l.Token() {
				t.Errorf("token %d after %d", l2.Token(), l.Token())
			}
		})
	}
}

// A write that was given up, but whose commit succeeded, is not mistaken for the next
// one.
func TestAbandonedCommit(t *testing.T) {
	ctx := t.Context()
	where := postgrestest.URL(t)
	u, err := url.Parse(where)
	ok(t, err)
	p := newProxy(t, u.Host, "after")
	s := open(t, strings.Replace(where, u.Host, p.addr, 1))
	state.SetOutage(s, 500*time.Millisecond)
	l := lock(t, s)
	p.down.Store(true) // for connections after the cut
	p.arm()
	var away *state.UnreachableError
	if _, err := l.BeginRevision(ctx, state.Revision{System: "one"}); !errors.As(err, &away) {
		t.Fatalf("got %v, want UnreachableError", err)
	}
	state.SetOutage(s, time.Minute)
	refused := p.refused.Load()
	go func() {
		for p.refused.Load() == refused {
			time.Sleep(time.Millisecond)
		}
		p.down.Store(false)
	}()
	if n := must[int](t)(l.BeginRevision(ctx, state.Revision{System: "two"})); n != 2 {
		t.Errorf("revision %d, want 2", n)
	}
	if rs := must[[]state.Revision](t)(s.Revisions(ctx, 0)); len(rs) != 2 || rs[0].System != "two" || rs[1].System != "one" {
		t.Errorf("revisions %+v", rs)
	}
}

// A proxy is in front of a server and cuts a connection at a commit: before it, after it,
// or before it and forwards it later.
type proxy struct {
	addr  string
	cut   string
	armed atomic.Bool
	cuts  atomic.Int32

	down    atomic.Bool // it accepts no connections
	refused atomic.Int32
}

func newProxy(t *testing.T, server, cut string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { listener.Close() })
	p := &proxy{addr: listener.Addr().String(), cut: cut}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			if p.down.Load() {
				p.refused.Add(1)
				client.Close()
				continue
			}
			back, err := net.Dial("tcp", server)
			if err != nil {
				t.Error(err)
				return
			}
			go p.pass(client, back)
		}
	}()
	return p
}

// arm makes it cut the next commit.
func (p *proxy) arm() { p.armed.Store(true) }

func (p *proxy) pass(client, server net.Conn) {
	defer server.Close()
	defer client.Close()
	var deaf atomic.Bool
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, err := server.Read(b)
			if err != nil {
				client.Close()
				return
			}
			if !deaf.Load() {
				_, _ = client.Write(b[:n])
			} else if p.cut == "after" {
				client.Close() // it was done
			}
		}
	}()
	b := make([]byte, 1<<16)
	for {
		n, err := client.Read(b)
		if err != nil {
			return
		}
		if bytes.Contains(b[:n], []byte("commit\x00")) && p.armed.CompareAndSwap(true, false) {
			p.cuts.Add(1)
			deaf.Store(true)
			switch p.cut {
			case "before":
				return
			case "late":
				client.Close()
				time.Sleep(300 * time.Millisecond)
			}
			_, _ = server.Write(b[:n])
			if p.cut == "after" {
				_, _ = io.Copy(io.Discard, client)
			}
			time.Sleep(100 * time.Millisecond) // for the server to read it
			return
		}
		if _, err := server.Write(b[:n]); err != nil {
			return
		}
	}
}

// The server ends the transaction of a writer that hangs in the middle of a write,
// because it is stopped or its machine is gone. Until then others retry.
func TestHangingWriterIsRemoved(t *testing.T) {
	ctx := t.Context()
	where := postgrestest.URL(t)
	s := open(t, where+"&lock_timeout=50")
	l := lock(t, s)
	ok(t, state.Hang(ctx, open(t, where+"&idle_in_transaction_session_timeout=400")))
	if n := must[int](t)(l.BeginRevision(ctx, state.Revision{})); n != 1 {
		t.Errorf("revision %d", n)
	}
	state.SetOutage(s, 300*time.Millisecond)
	ok(t, state.Hang(ctx, open(t, where)))
	if _, err := l.BeginRevision(ctx, state.Revision{}); err == nil || !strings.Contains(err.Error(), "is busy: another process has been writing") {
		t.Errorf("got %v", err)
	}
}

// After a takeover of the lock no write of the former holder succeeds, however they
// interleave.
func TestNoWriteComesAfterTheLockWasTakenOver(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		ctx := t.Context()
		open(t, where)
		for round := range 20 {
			old := must[*state.Store](t)(state.Open(ctx, where))
			l, err := old.Lock(ctx, state.Holder{}, state.LockOptions{})
			ok(t, err)
			next := must[*state.Store](t)(state.Open(ctx, where))
			var wg sync.WaitGroup
			var written atomic.Int64
			started := make(chan struct{})
			for range 2 {
				wg.Go(func() {
					for {
						_, err := l.Begin(ctx, state.Run{Key: fmt.Sprint(round), Unit: "a"})
						if err != nil {
							if !errors.Is(err, state.ErrFenced) {
								t.Error(err)
							}
							return
						}
						if written.Add(1) == 3 {
							close(started)
						}
					}
				})
			}
			<-started
			state.SetStart(t, next, "1") // as if the holder were gone
			l2, err := next.Lock(ctx, state.Holder{}, state.LockOptions{Wait: time.Minute})
			ok(t, err)
			at := must[state.Meta](t)(next.Meta(ctx))
			wg.Wait()
			if now := must[state.Meta](t)(next.Meta(ctx)); now != at {
				t.Fatalf("the state went from %+v to %+v after it was taken over", at, now)
			}
			ok(t, l2.Release(ctx))
			ok(t, errors.Join(l.Release(ctx), old.Close(), next.Close()))
		}
	})
}

// A write fails if the state was replaced by another one.
func TestAWriteNoticesThatTheStateIsAnother(t *testing.T) {
	for _, tt := range []struct {
		name string
		done string // with the schema %s
	}{
		{"dropped", "DROP SCHEMA %s CASCADE"},
		{"started over", "UPDATE %s.meta SET lineage = 'other'"},
		{"brought back from a backup", "UPDATE %s.meta SET serial = serial - 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			where := postgrestest.URL(t)
			l := lock(t, open(t, where))
			n := must[int](t)(l.BeginRevision(t.Context(), state.Revision{}))
			ok(t, state.Exec(t.Context(), open(t, where), fmt.Sprintf(tt.done, schemaOf(where))))
			var lost *state.LostError
			if err := l.EndRevision(t.Context(), n, state.Done, ""); !errors.As(err, &lost) || !lost.Used {
				t.Errorf("got %v, want LostError", err)
			}
		})
	}
}

// What a program writes may not be valid text.
func TestAnErrorOfAnyBytesIsRecorded(t *testing.T) {
	onBoth(t, func(t *testing.T, where string) {
		s := open(t, where)
		l := lock(t, s)
		id := must[int64](t)(l.Begin(t.Context(), state.Run{Key: "k", Unit: "a"}))
		ok(t, l.Finish(t.Context(), state.Run{ID: id, Unit: "a", Outcome: state.Failure, Error: "exit 1: \x00\xff?"}, nil, nil))
		if r := must[*state.Run](t)(s.Run(t.Context(), id)); r.Error != "exit 1: \uFFFD\uFFFD?" {
			t.Errorf("recorded as %q", r.Error)
		}
	})
}
