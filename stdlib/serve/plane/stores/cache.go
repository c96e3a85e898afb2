package stores

import (
	"sync"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A cache has entries of a version, which never change. It forgets one that was not asked for
// since it looked last.
type cache struct {
	mu      sync.Mutex
	entries map[string]*cached
	ring    []*cached
	hand    int
}

type cached struct {
	want     string
	key, row []byte
	used     bool
}

func newCache(most int) *cache {
	return &cache{entries: map[string]*cached{}, ring: make([]*cached, most)}
}

// nameOf names a want: ranges of one lookup differ in their ends, or in where they begin.
func nameOf(w rowsql.Want) string { return string(w.Key) + "\xff" + string(w.End) }

func (c *cache) get(w rowsql.Want) (key, row []byte, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.entries[nameOf(w)]
	if x == nil {
		return nil, nil, false
	}
	x.used = true
	return x.key, x.row, true
}

func (c *cache) put(w rowsql.Want, key, row []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := nameOf(w)
	if c.entries[name] != nil {
		return
	}
	for c.ring[c.hand] != nil && c.ring[c.hand].used {
		c.ring[c.hand].used = false
		c.hand = (c.hand + 1) % len(c.ring)
	}
	if old := c.ring[c.hand]; old != nil {
		delete(c.entries, old.want)
	}
	x := &cached{want: name, key: key, row: row}
	c.ring[c.hand], c.entries[name] = x, x
	c.hand = (c.hand + 1) % len(c.ring)
}
