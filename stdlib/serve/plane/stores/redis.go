package stores

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A redisStore uses a small client: the usual one is larger than the rest of this program.
type redisStore struct {
	common
	nodes nodes
}

// nodes send commands to the servers that have their keys.
type nodes interface {
	// do sends commands at once, and returns their answers in their order. What Redis refuses is an
	// error. They may be sent twice.
	do(ctx context.Context, commands []command) (answers []any, err error)
	close()
}

func openRedis(c common) (Store, error) {
	if c.spec.Cluster {
		nodes, err := openCluster(c)
		return &redisStore{c, nodes}, err
	}
	u, err := url.Parse(c.spec.URL)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Host == "" {
		return nil, fmt.Errorf("%q is not a URL of Redis, such as redis://HOST:6379/0", c.spec.URL)
	}
	return &redisStore{c, newNode(&c, c.spec.URL)}, nil
}

func (s *redisStore) Close() { s.nodes.close() }

// A command of Redis. Its first argument is the key, if it has one.
type command struct {
	name string
	args []any
}

func (s *redisStore) do(ctx context.Context, commands ...command) (answers []any, err error) {
	return s.nodes.do(ctx, commands)
}

// A node is one server.
type node struct{ pool redis.Pool }

// newNode returns the server at a URL. It connects when it is asked.
func newNode(c *common, at string) *node {
	options := []redis.DialOption{redis.DialConnectTimeout(c.timeout), redis.DialReadTimeout(c.timeout), redis.DialWriteTimeout(c.timeout)}
	if c.password != "" {
		options = append(options, redis.DialPassword(c.password))
	}
	return &node{redis.Pool{MaxActive: c.connections(), MaxIdle: c.connections(), Wait: true, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialURLContext(ctx, at, options...)
	}}}
}

func (n *node) close() { _ = n.pool.Close() }

func (n *node) do(ctx context.Context, commands []command) (answers []any, err error) {
	answers, err = n.each(ctx, commands)
	for _, a := range answers {
		if refused, ok := a.(redis.Error); ok && err == nil {
			if redirected(refused) {
				return nil, fmt.Errorf("it is a node of a cluster: declare cluster: true: %w", refused)
			}
			return nil, refused
		}
	}
	return answers, err
}

// each sends commands. What Redis refuses is a [redis.Error] among the answers. They may be sent
// twice: a connection that has been idle may be closed, and so may all of them.
func (n *node) each(ctx context.Context, commands []command) (answers []any, err error) {
	for range n.pool.MaxIdle + 1 {
		var again bool
		if answers, again, err = n.once(ctx, commands); err == nil || !again || ctx.Err() != nil {
			return answers, err
		}
	}
	return nil, err
}

// once is each on one connection. again says that another one may be able to.
func (n *node) once(ctx context.Context, commands []command) (answers []any, again bool, err error) {
	idle := n.pool.IdleCount() > 0
	c, err := n.pool.GetContext(ctx)
	if err != nil {
		return nil, false, err
	}
	defer c.Close() //nolint:errcheck // it gives it back
	for _, x := range commands {
		if err := c.Send(x.name, x.args...); err != nil {
			return nil, idle, err
		}
	}
	if err := c.Flush(); err != nil {
		return nil, idle, err
	}
	for range commands {
		a, err := redis.ReceiveContext(c, ctx)
		var refused redis.Error
		if errors.As(err, &refused) {
			a, err = refused, nil
		}
		if err != nil {
			return nil, idle && !errors.Is(err, os.ErrDeadlineExceeded), err
		}
		answers = append(answers, a)
	}
	return answers, false, nil
}

func (s *redisStore) key(version string) string { return s.spec.Prefix + ":" + version }

func (s *redisStore) bucket(version string, n int) string {
	return s.spec.Prefix + ":" + version + ":" + strconv.Itoa(n)
}

// perBucket is about how many rows a bucket has: few, so that Redis removes one at once, and
// many, so that there are not too many to use.
const (
	perBucket   = 512
	mostBuckets = 1 << 16
)

func buckets(rows int64) int {
	n := 1
	for n < mostBuckets && int64(n)*perBucket < rows {
		n *= 2
	}
	return n
}

// place is the bucket of the rows with a key. The order of an ASOF join is no part of it.
func place(key []byte, n int) int {
	h := uint64(14695981039346656037) // FNV-1a, which every version of this program has
	for _, b := range key {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return int(h>>32) & (n - 1)
}

// placeOf is the bucket of an entry, or of a want with its size.
func (i Info) placeOf(key []byte, size int) int {
	if i.Ordered {
		size -= rowsql.OrderSize
	}
	return place(key[:size], i.Buckets)
}

// atOnce is how many commands are sent before answers are read.
const atOnce = 1024

// Use prolongs the life of all parts, and counts their rows: a server of a cluster that another
// one takes over from may have lost the last ones that were written.
func (s *redisStore) Use(ctx context.Context, version string) (info Info, err error) {
	found, err := s.do(ctx, command{"GET", []any{s.key(version)}})
	if err != nil {
		return info, err
	}
	text, ok := found[0].([]byte)
	if !ok {
		return info, ErrNone
	}
	if err := json.Unmarshal(text, &info); err != nil {
		return info, fmt.Errorf("%s is not a table: %w", s.key(version), err)
	}
	if info.Buckets < 1 || info.Buckets > mostBuckets {
		return info, fmt.Errorf("%s is not a table: it has %d parts", s.key(version), info.Buckets)
	}
	count, rows := "HLEN", int64(0)
	if info.Ordered {
		count = "ZCARD"
	}
	for from := 0; from < info.Buckets; from += atOnce {
		var all []command
		for n := from; n < min(from+atOnce, info.Buckets); n++ {
			at := s.bucket(version, n)
			all = append(all, s.expire(at, s.keep), command{count, []any{at}})
		}
		answers, err := s.do(ctx, all...)
		if err != nil {
			return info, err
		}
		for i := 0; i < len(answers); i += 2 {
			n, _ := answers[i+1].(int64)
			if answers[i] != int64(1) {
				return info, ErrNone
			}
			rows += n - 1 // without the empty member
		}
	}
	if rows != info.Rows {
		return info, ErrNone
	}
	_, err = s.do(ctx, s.expire(s.key(version), s.untilGone()))
	return info, err
}

func (s *redisStore) expire(key string, after time.Duration) command {
	return command{"PEXPIRE", []any{key, after.Milliseconds()}}
}

// untilGone is how long the key stays that says that a version is whole. It is the first to go.
func (s *redisStore) untilGone() time.Duration { return s.keep - s.keep/16 }

func (s *redisStore) Write(ctx context.Context, version string, info Info, next func() (key, row []byte, err error)) error {
	info.Buckets, info.Rows = buckets(info.Rows), 0
	var all []command
	flush := func(most int) error {
		if len(all) <= most {
			return nil
		}
		_, err := s.do(ctx, all...)
		all = all[:0]
		return err
	}
	for n := range info.Buckets {
		at := s.bucket(version, n)
		if info.Ordered {
			all = append(all, command{"ZADD", []any{at, 0, ""}})
		} else {
			all = append(all, command{"HSET", []any{at, "", ""}})
		}
		all = append(all, s.expire(at, s.keep)) // also if this is interrupted
		if err := flush(atOnce); err != nil {
			return err
		}
	}
	for {
		key, row, err := next()
		if err != nil {
			return err
		}
		if key == nil {
			break
		}
		info.Rows++
		at := s.bucket(version, info.placeOf(key, len(key)))
		if info.Ordered {
			all = append(all, command{"ZADD", []any{at, 0, string(key) + string(row)}})
		} else {
			all = append(all, command{"HSET", []any{at, string(key), string(row)}})
		}
		if err := flush(atOnce); err != nil {
			return err
		}
	}
	if err := flush(0); err != nil {
		return err
	}
	_, err := s.do(ctx, command{"SET", []any{s.key(version), info.json(), "PX", s.untilGone().Milliseconds()}})
	return err
}

func (s *redisStore) Get(ctx context.Context, version string, info Info, wants []rowsql.Want, set func(int, []byte, []byte) error) error {
	if info.Ordered {
		return s.nearest(ctx, version, info, wants, set)
	}
	all := make([]command, len(wants))
	for i, w := range wants {
		all[i] = command{"HMGET", []any{s.bucket(version, info.placeOf(w.Key, w.Size)), w.Key, ""}}
	}
	answers, err := s.do(ctx, all...)
	if err != nil {
		return err
	}
	for i, w := range wants {
		found, _ := answers[i].([]any)
		if len(found) != 2 || found[1] == nil {
			return errLost
		}
		key := w.Key
		row, there := found[0].([]byte)
		if !there {
			key = nil
		}
		if err := set(i, key, row); err != nil {
			return err
		}
	}
	return nil
}

func (s *redisStore) nearest(ctx context.Context, version string, info Info, wants []rowsql.Want, set func(int, []byte, []byte) error) error {
	all := make([]command, 0, 2*len(wants))
	for _, w := range wants {
		at, from, to := s.bucket(version, info.placeOf(w.End, w.Size)), "["+string(w.Key), "("+string(w.End)
		if w.Last {
			all = append(all, command{"ZREVRANGEBYLEX", []any{at, to, from, "LIMIT", 0, 1}})
		} else {
			all = append(all, command{"ZRANGEBYLEX", []any{at, from, to, "LIMIT", 0, 1}})
		}
		all = append(all, command{"ZSCORE", []any{at, ""}})
	}
	answers, err := s.do(ctx, all...)
	if err != nil {
		return err
	}
	for i, w := range wants {
		if answers[2*i+1] == nil {
			return errLost
		}
		var key, row []byte
		found, _ := answers[2*i].([]any)
		if len(found) == 1 {
			// The empty member is before all rows.
			if member, _ := found[0].([]byte); len(member) > w.Size {
				key, row = member[:w.Size], member[w.Size:]
			} else if len(member) > 0 {
				return errors.New("it has an entry without a row")
			}
		}
		if err := set(i, key, row); err != nil {
			return err
		}
	}
	return nil
}
