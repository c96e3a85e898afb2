package measure

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"hash/fnv"
	"sync"
)

// A Cache keeps samples of rows that never change, up to a size, and drops the least recently used ones first. A nil
// cache keeps nothing.
type Cache struct {
	most int64 // bytes

	mu      sync.Mutex
	size    int64
	entries map[string]*list.Element
	recent  *list.List // of kept samples, the last used first
	ks      map[ksKey]float64
}

// A ksKey is what determines a p-value of the two-sample test. It stays the same while a window gets no new rows.
type ksKey struct {
	m, n      int64
	statistic float64
}

// mostKS is how many p-values are kept.
const mostKS = 100_000

type kept struct {
	key string
	*sample
}

// NewCache returns a cache whose samples take about most bytes at most.
func NewCache(most int64) *Cache {
	return &Cache{most: most, entries: map[string]*list.Element{}, recent: list.New()}
}

// ksPValue returns what the function ksPValue does, from the cache if it is there.
func (c *Cache) ksPValue(m, n int64, d float64) float64 {
	if c == nil {
		return ksPValue(m, n, d)
	}
	key := ksKey{m, n, d}
	c.mu.Lock()
	p, ok := c.ks[key]
	c.mu.Unlock()
	if ok {
		return p
	}
	p = ksPValue(m, n, d)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ks) >= mostKS || c.ks == nil {
		c.ks = map[ksKey]float64{}
	}
	c.ks[key] = p
	return p
}

func (c *Cache) get(key string) *sample {
	if c == nil || key == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		return nil
	}
	c.recent.MoveToFront(e)
	return e.Value.(kept).sample
}

func (c *Cache) put(key string, s *sample) {
	if c == nil || key == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[key] != nil {
		return
	}
	c.entries[key] = c.recent.PushFront(kept{key, s})
	c.size += s.size()
	for c.size > c.most {
		last := c.recent.Back()
		old := c.recent.Remove(last).(kept)
		delete(c.entries, old.key)
		c.size -= old.size()
	}
}

// A node is a part of a relation, or several parts that follow each other and whose joined sample is
// worth keeping.
type node struct {
	key  string // "" if it is not kept
	part int    // without children
	of   []*node
}

// fanout is about how many parts are joined in one step.
const fanout = 16

// tree groups the parts of a relation. Where a group ends follows from the keys of its parts, so that the same
// parts are in the same group when others were added at the end, or removed at the beginning.
func tree(parts []part) []*node {
	nodes := make([]*node, len(parts))
	for i, p := range parts {
		nodes[i] = &node{key: p.key, part: i}
	}
	for len(nodes) > fanout {
		var next, group []*node
		end := func() {
			if len(group) > 1 {
				next = append(next, &node{key: keyOf(group), of: group})
			} else {
				next = append(next, group...)
			}
			group = nil
		}
		for _, n := range nodes {
			if n.key == "" {
				end()
				next = append(next, n)
				continue
			}
			if group = append(group, n); last(n.key) {
				end()
			}
		}
		end()
		if len(next) == len(nodes) {
			break
		}
		nodes = next
	}
	return nodes
}

// last reports whether a group ends with a key.
func last(key string) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return h.Sum32()%fanout == 0
}

func keyOf(nodes []*node) string {
	h := sha256.New()
	for _, n := range nodes {
		_, _ = h.Write([]byte(n.key + "\x00"))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// missing calls f for each part that has to be read to make the sample of a node. It puts kept samples into found, so
// that none is dropped before the sample is made.
func (n *node) missing(c *Cache, of string, found map[*node]*sample, f func(part int)) {
	if s := c.get(n.keyFor(of)); s != nil {
		found[n] = s
		return
	}
	if len(n.of) == 0 {
		f(n.part)
	}
	for _, child := range n.of {
		child.missing(c, of, found, f)
	}
}

// sample makes the sample of a node from what was found and what was read.
func (n *node) sample(c *Cache, of string, found map[*node]*sample, read map[int]*sample) *sample {
	if s := found[n]; s != nil {
		return s
	}
	s := read[n.part]
	if len(n.of) > 0 {
		s = join(samples(n.of, c, of, found, read))
	}
	c.put(n.keyFor(of), s)
	return s
}

func samples(nodes []*node, c *Cache, of string, found map[*node]*sample, read map[int]*sample) []*sample {
	all := make([]*sample, len(nodes))
	for i, n := range nodes {
		all[i] = n.sample(c, of, found, read)
	}
	return all
}

// keyFor is the key of the sample of an expression.
func (n *node) keyFor(of string) string {
	if n.key == "" {
		return ""
	}
	return n.key + "\x00" + of
}
