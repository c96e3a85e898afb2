package edge

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
)

// A quota counts the requests of a day. It is kept in a folder, with a file for each instance of
// the service: while a new version takes over, both count, and each reads what the other has
// counted. A service that is killed forgets what came after the last write.
type quota struct {
	dir, own string // own is the name of the file
	log      func(string)

	mu      sync.Mutex
	day     string
	used    map[string]int64 // by this instance
	others  map[string]int64
	changed bool
	failing bool
}

// counts is a file.
type counts struct {
	Day  string           `json:"day"`
	Used map[string]int64 `json:"used"`
}

const countsFile = ".json"

func dayOf(now time.Time) string { return now.UTC().Format(time.DateOnly) }

// openQuota reads what was counted today.
func openQuota(dir, instance string, now time.Time, log func(string)) (*quota, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	q := &quota{dir: dir, own: fileName(instance) + countsFile, log: log, day: dayOf(now), used: map[string]int64{}, others: map[string]int64{}}
	if c, ok := q.read(q.own); ok && c.Day == q.day && c.Used != nil {
		q.used = c.Used
	}
	q.others = q.readOthers(q.day)
	return q, nil
}

// fileName keeps what is safe in the name of a file.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, s)
}

func (q *quota) read(name string) (c counts, ok bool) {
	b, err := os.ReadFile(filepath.Join(q.dir, name))
	return c, err == nil && json.Unmarshal(b, &c) == nil
}

// readOthers adds up what other instances have counted on a day, and removes files of earlier ones.
func (q *quota) readOthers(day string) map[string]int64 {
	all := map[string]int64{}
	entries, _ := os.ReadDir(q.dir)
	for _, e := range entries {
		if e.Name() == q.own || !strings.HasSuffix(e.Name(), countsFile) || strings.HasPrefix(e.Name(), files.HalfWritten) {
			continue
		}
		c, ok := q.read(e.Name())
		switch {
		case ok && c.Day == day:
			for name, n := range c.Used {
				all[name] += n
			}
		case ok && c.Day < day:
			_ = os.Remove(filepath.Join(q.dir, e.Name()))
		}
	}
	return all
}

// take counts a request, unless there were as many as may be.
func (q *quota) take(name string, most int64, now time.Time) bool {
	day := dayOf(now)
	q.mu.Lock()
	defer q.mu.Unlock()
	if day > q.day {
		q.day, q.used, q.others = day, map[string]int64{}, map[string]int64{}
	}
	if q.used[name]+q.others[name] >= most {
		return false
	}
	q.used[name]++
	q.changed = true
	return true
}

// sync writes what was counted, and reads what others have.
func (q *quota) sync() {
	q.mu.Lock()
	c, changed := counts{q.day, maps.Clone(q.used)}, q.changed
	q.changed = false
	q.mu.Unlock()
	if changed {
		b, err := json.Marshal(c)
		if err == nil {
			err = files.Write(filepath.Join(q.dir, q.own), append(b, '\n'), 0o644)
		}
		q.mu.Lock()
		if err != nil {
			if q.changed = true; !q.failing {
				q.log("note: the requests of a day cannot be written, and a restart forgets them: " + err.Error())
			}
		}
		q.failing = err != nil
		q.mu.Unlock()
	}
	others := q.readOthers(c.Day)
	q.mu.Lock()
	if q.day == c.Day {
		q.others = others
	}
	q.mu.Unlock()
}

// keep writes the counts again and again, until ctx ends.
func (q *quota) keep(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			q.sync()
		}
	}
}
