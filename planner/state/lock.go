package state

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/internal/batch"
)

// A Holder says who holds the lock. Lock fills in an empty host and process.
type Holder struct {
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	User    string `json:"user,omitempty"`
	Command string `json:"command,omitempty"`

	Process Process       `json:"process,omitzero"` // filled in by Lock
	TTL     time.Duration `json:"ttl_ns,omitempty"` // filled in by Lock: how long the lock outlives its last renewal
}

// A Process distinguishes processes that have the same number.
type Process struct {
	Boot      string `json:"boot,omitempty"`      // of the kernel it ran on
	Namespace string `json:"namespace,omitempty"` // in which its number is valid
	Start     string `json:"start,omitempty"`
}

// LockOptions tune [Store.Lock].
type LockOptions struct {
	// Wait is how long to wait for another holder: 0 does not wait, and a negative value
	// waits until the context ends.
	Wait time.Duration
	// TTL is how long the lock outlives its last renewal; 0 is 30 seconds.
	// It is renewed in the background at a third of that.
	TTL time.Duration
}

const (
	defaultTTL = 30 * time.Second
	poll       = 100 * time.Millisecond
)

// A Lease is the right to write to an environment. All its methods return [ErrFenced], and write nothing,
// once another process has taken the lock over.
//
// In a folder, the journal ([Lease.Begin], [Lease.SetHandle]) and anything that can be
// made again is committed without waiting for the disk. A crash of the process loses
// nothing. After a power failure the database is intact but may miss the last of these
// commits. That is harmless: local processes ended with the power, and remote ones are
// found again by their deterministic names. Outcomes, models and revisions
// ([Lease.Finish], [Lease.Register], and so on) return only once they are on disk, with
// all that was written before them. In PostgreSQL every write waits for the disk: the
// server and tenon may crash while what was started elsewhere lives on.
type Lease struct {
	s       *Store
	token   int64
	ttl     time.Duration
	lineage string
	serial  int64 // of the environment, after the last write
	total   int64 // serial of the state, after the last write
	unsure  int64 // how many more may have been committed

	writes batch.Batcher[*write]

	stop context.CancelFunc
	done chan struct{} // closed when the heartbeat has ended
	lost chan struct{}
	once sync.Once
}

// Lock takes the lock on the environment; that of [All] excludes the holders of all others.
// It returns a [HeldError] if another process holds it
// and does not release it in time. It takes the lock over from a holder that ran on this
// host and is gone, and from one that does not renew it for its TTL.
//
// The waiting process measures the TTL itself, with a monotonic clock, from when it first
// saw the holder's last renewal. So wall clocks do not matter: a wrong one takes the lock
// from nobody who renews it, and keeps it for nobody who does not. Wall clocks have
// one use: Lock watches a lock that seems to have expired for its TTL, even if the
// caller does not want to wait.
func (s *Store) Lock(ctx context.Context, h Holder, o LockOptions) (*Lease, error) {
	if err := h.complete(); err != nil {
		return nil, fmt.Errorf("lock state: %w", err)
	}
	if o.TTL <= 0 {
		o.TTL = defaultTTL
	}
	h.TTL = o.TTL
	deadline := time.Now().Add(o.Wait)
	var w watch
	for {
		l, err := s.acquire(ctx, h, &w)
		if err == nil {
			var beat context.Context
			beat, l.stop = context.WithCancel(context.Background())
			go l.heartbeat(beat)
			return l, nil
		}
		var held *HeldError
		if !errors.As(err, &held) || o.Wait >= 0 && time.Now().After(deadline) && !w.hopeful {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), err)
		case <-time.After(poll):
		}
	}
}

// Holder returns who holds the lock now, by the wall clock, or nil if nobody does.
func (s *Store) Holder(ctx context.Context) (held *HeldError, err error) {
	err = s.try(ctx, func(ctx context.Context) error {
		held, err = s.holder(ctx, s.read, nil)
		return err
	})
	return held, s.explain("read lock", err)
}

// A watch is what a process that wants the lock has seen of its holders, by token. Only the
// lock of [All] waits for more than one.
type watch struct {
	seen    map[int64]*sighting
	hopeful bool // the one that holds it seems to have expired, and was not renewed
}

type sighting struct {
	expires int64
	since   time.Time // when that was first seen, by a monotonic clock
	renewed bool      // under watch
}

// holder returns who holds the lock now, or nil if it is free. Without a watch it relies
// on the wall clock.
func (s *Store) holder(ctx context.Context, q querier, w *watch) (*HeldError, error) {
	leases, err := s.leases(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, l := range leases {
		if held, err := s.holds(l, w); held != nil || err != nil {
			return held, err
		}
	}
	return nil, nil
}

// A lease is a row of the table of leases.
type lease struct {
	token, acquired, expires int64
	holder                   string
}

// leases returns the leases that exclude one of the environment.
func (s *Store) leases(ctx context.Context, q querier) (all []lease, err error) {
	if s.env == All {
		return leasesFrom(ctx, q, "") // without env, this also reads older layouts
	}
	return leasesFrom(ctx, q, " WHERE env IN (?, ?)", s.env, All)
}

func leasesFrom(ctx context.Context, q querier, where string, args ...any) (all []lease, err error) {
	rows, err := q.QueryContext(ctx, "SELECT token, holder, acquired, expires FROM lease"+where+" ORDER BY token", args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var l lease
		if err := rows.Scan(&l.token, &l.holder, &l.acquired, &l.expires); err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, rows.Err()
}

// holds returns an error if the lease is still valid.
func (s *Store) holds(l lease, w *watch) (*HeldError, error) {
	e := &HeldError{Since: toTime(l.acquired), Expires: toTime(l.expires)}
	if err := json.Unmarshal([]byte(l.holder), &e.Holder); err != nil {
		return nil, fmt.Errorf("holder of the lock: %w", err)
	}
	if gone(e.Holder) {
		return nil, nil
	}
	now, ttl := s.now(), cmp.Or(e.Holder.TTL, defaultTTL)
	over := !now.Before(e.Expires)
	if w == nil {
		if over {
			return nil, nil
		}
		return e, nil
	}
	seen := w.seen[l.token]
	if seen == nil || seen.expires != l.expires {
		if w.seen == nil {
			w.seen = map[int64]*sighting{}
		}
		seen = &sighting{l.expires, time.Now(), seen != nil}
		w.seen[l.token] = seen
	}
	if time.Since(seen.since) >= ttl {
		return nil, nil
	}
	w.hopeful = over && !seen.renewed
	if latest := now.Add(ttl); over || e.Expires.After(latest) {
		e.Expires = latest // by another machine's clock
	}
	return e, nil
}

func (s *Store) acquire(ctx context.Context, h Holder, w *watch) (*Lease, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("lock state: %w", err)
	}
	s.notify("lock state", false)
	defer s.notify("lock state", true)
	l := &Lease{s: s, ttl: h.TTL, done: make(chan struct{}), lost: make(chan struct{})}
	l.writes.Run = l.make
	s.mu.Lock()
	defer s.mu.Unlock()
	var tries int
	var at int64 // when the last attempt wrote that it has the lock
	err = s.try(ctx, func(ctx context.Context) error {
		if tries++; tries > 1 {
			*w = watch{} // the holder could not renew it either
		}
		tx, err := s.begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
		if at != 0 {        // its commit may have gone through
			err := tx.QueryRowContext(ctx, `SELECT token, lineage, meta.serial, environment.serial FROM lease JOIN environment USING (env), meta
				WHERE env = ? AND holder = ? AND acquired = ?`, s.env, string(text), at).Scan(&l.token, &l.lineage, &l.total, &l.serial)
			if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		held, err := s.holder(ctx, tx, w)
		if err != nil {
			return err
		}
		if held != nil {
			return held
		}
		if err := tx.QueryRowContext(ctx, "UPDATE meta SET fence = fence + 1 RETURNING fence, lineage, serial").Scan(&l.token, &l.lineage, &l.total); errors.Is(err, sql.ErrNoRows) {
			return s.onTheMove(ctx, movedLayout) // while we waited
		} else if err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `INSERT INTO environment(env, serial) VALUES (?, 0)
			ON CONFLICT(env) DO UPDATE SET serial = environment.serial RETURNING serial`, s.env).Scan(&l.serial); err != nil {
			return err
		}
		// This fences every holder that the new one excludes.
		if _, err := tx.ExecContext(ctx, "DELETE FROM lease WHERE env IN (?, ?) OR ? = ?", s.env, All, s.env, All); err != nil {
			return err
		}
		now := s.now()
		at = fromTime(now)
		if _, err := tx.ExecContext(ctx, "INSERT INTO lease(env, token, holder, acquired, expires) VALUES (?, ?, ?, ?, ?)",
			s.env, l.token, string(text), at, fromTime(now.Add(h.TTL))); err != nil {
			return err
		}
		return tx.Commit()
	})
	if held := (*HeldError)(nil); errors.As(err, &held) {
		return nil, held
	}
	return l, s.explain("lock state", err)
}

// gone reports whether the holder ran on this host and has certainly ended. Host names
// may repeat, and the number of a process means nothing in another namespace: when in
// doubt, the lease has to expire.
func gone(h Holder) bool { return h.comparable() && !alive(h.PID, h.Process.Start) }

// Here reports whether the holder certainly runs on this host, where its number is that of the
// process.
func (h Holder) Here() bool { return h.comparable() && alive(h.PID, h.Process.Start) }

// comparable reports whether the number of the holder means a process of this host.
func (h Holder) comparable() bool {
	host, err := os.Hostname()
	if err != nil || host != h.Host {
		return false
	}
	self := processOf(os.Getpid())
	return self.Boot == h.Process.Boot && self.Namespace == h.Process.Namespace
}

// heartbeat renews the lease. It continues after an error, because a busy disk may
// recover before the lease expires, or later, as long as no other process has taken it.
func (l *Lease) heartbeat(ctx context.Context) {
	defer close(l.done)
	t := time.NewTicker(l.ttl / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if n, err := l.renew(ctx); err == nil && n == 0 {
			l.fence()
			return
		}
	}
}

// renew returns 0 if another process has the lease.
func (l *Lease) renew(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.ttl) // a server that does not answer may answer on another connection
	defer cancel()
	return affected(l.s.write.ExecContext(ctx, "UPDATE lease SET expires = ? WHERE token = ?", fromTime(l.s.now().Add(l.ttl)), l.token))
}

func (l *Lease) fence() { l.once.Do(func() { close(l.lost) }) }

// Lost is closed once another process is known to have taken the lock over. From then on
// all writes fail; the caller should stop its work.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Check returns [ErrFenced] if another process took the lock over. Writes check this
// themselves; call Check right before an action outside the state.
func (l *Lease) Check(ctx context.Context) error {
	var token int64
	err := l.s.row(ctx, "read lock", []any{&token}, "SELECT token FROM lease WHERE env = ?", l.s.env)
	if errors.Is(err, ErrNotFound) || err == nil && token != l.token {
		l.fence()
		return ErrFenced
	}
	return err
}

// Token is the fencing token: it grows with every lease of the state.
func (l *Lease) Token() int64 { return l.token }

// Release releases the lock. It may be called repeatedly, and after the lock was lost.
func (l *Lease) Release(ctx context.Context) error {
	l.stop()
	<-l.done
	select {
	case <-l.lost:
	default:
		// A note that is missing or older refuses less.
		if l.s.sync() == nil {
			_ = l.noteHome()
		}
	}
	l.s.notify("release the lock", false)
	defer l.s.notify("release the lock", true)
	return l.s.explain("release the lock", l.s.try(ctx, func(ctx context.Context) error {
		_, err := l.s.write.ExecContext(ctx, "DELETE FROM lease WHERE token = ?", l.token)
		return err
	}))
}
