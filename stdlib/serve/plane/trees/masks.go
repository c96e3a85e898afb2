package trees

import (
	"math"
	"math/bits"
	"slices"
)

// masks evaluate an ensemble of small trees without a walk from node to node, whose branches
// no processor predicts. They are the bit vectors of QuickScorer (Lucchese et al., SIGIR
// 2015): a tree is a field of bits, one for each leaf. What the value of a feature says about
// all nodes that read it is known ahead for each interval between two thresholds: the leaves
// that remain in each tree. The intersection over all features is the leaf of each tree.
type masks struct {
	shift    uint // log2 of the bits of a tree
	words    int  // of the bits of all trees
	features []bins
	bits     []uint64  // rows of words, which features refer to; the first has all bits
	values   []float64 // of each leaf, where its bit is
}

// bins are the intervals of the values of a feature.
type bins struct {
	feature    int
	first      int       // the row of the first bin
	cuts       []float64 // of numbers: bin i has those above i cuts
	categories int       // of categories instead: how many there are; one more bin is for others
	missing    int       // the bin of a missing value
}

// mostMasked is the memory for the bits of an ensemble, in bytes. What does not fit a cache is
// no faster than a walk.
const mostMasked = 8 << 20

// unrolled is how many features are intersected at once.
const unrolled = 4

// A Scratch is memory for predictions, which one goroutine uses again and again.
type Scratch struct {
	rows   []int // in bits, of each feature
	leaves []uint64
}

// newMasks returns nil for an ensemble that is to be walked: of large trees, or of so many
// thresholds that the masks would take too much memory.
func newMasks(e *Ensemble) *masks {
	leaves := 1
	for _, t := range e.trees {
		if t.width > 1 {
			return nil
		}
		leaves = max(leaves, len(t.values))
	}
	if leaves > 64 || len(e.trees) == 0 {
		return nil
	}
	m := &masks{shift: max(3, uint(bits.Len(uint(leaves-1))))}
	perWord := 64 >> m.shift
	m.words = (len(e.trees) + perWord - 1) / perWord
	nodes, ok := m.bin(e)
	if !ok {
		return nil
	}
	m.fill(e, nodes)
	m.values = make([]float64, len(e.trees)<<m.shift)
	for i, t := range e.trees {
		copy(m.values[i<<m.shift:], t.values)
	}
	return m
}

// bin divides the values of all features. It returns the nodes that read each of them.
func (m *masks) bin(e *Ensemble) (nodes [][]int32, ok bool) {
	read := make([][]int32, e.m.Features)
	for i := range e.nodes {
		f := e.nodes[i].feature
		read[f] = append(read[f], int32(i))
	}
	rows := 1
	for f, all := range read {
		if len(all) == 0 {
			continue
		}
		b := bins{feature: f, first: rows}
		sets := 0
		for _, i := range all {
			n := &e.nodes[i]
			switch {
			case n.flags&categorical != 0:
				sets++
				b.categories = max(b.categories, 32*len(e.sets[n.categories]))
			case e.m.Rule == XGBoost:
				b.cuts = append(b.cuts, math.Nextafter(n.threshold, math.Inf(-1))) // below it, not at it
			case n.flags&zeroIsMissing != 0:
				b.cuts = append(b.cuts, n.threshold, math.Nextafter(-zero, math.Inf(-1)), zero)
			default:
				b.cuts = append(b.cuts, n.threshold)
			}
		}
		if sets > 0 && sets < len(all) {
			return nil, false
		}
		if sets > 0 {
			b.missing = b.categories + 1
		} else {
			slices.Sort(b.cuts)
			b.cuts = slices.Compact(b.cuts)
			b.missing = len(b.cuts) + 1
		}
		rows += b.missing + 1
		if rows*m.words*8 > mostMasked {
			return nil, false
		}
		m.features, nodes = append(m.features, b), append(nodes, all)
	}
	m.bits = make([]uint64, rows*m.words)
	return nodes, true
}

// fill asks each node about each bin of its feature.
func (m *masks) fill(e *Ensemble, nodes [][]int32) {
	for i := range m.bits {
		m.bits[i] = math.MaxUint64
	}
	left, right := e.leafSets()
	tree := make([]int, len(e.nodes)) // of each node
	at := 0
	for i := range e.trees {
		for range len(e.trees[i].values) - 1 {
			tree[at] = i
			at++
		}
	}
	for f := range m.features {
		b := &m.features[f]
		for bin := range b.missing + 1 {
			x := b.typical(bin)
			row := m.row(b.first + bin)
			for _, i := range nodes[f] {
				lost := left[i]
				if e.left(&e.nodes[i], x) {
					lost = right[i]
				}
				t := tree[i] << m.shift
				row[t/64] &^= lost << (t % 64)
			}
		}
	}
}

func (m *masks) row(i int) []uint64 { return m.bits[i*m.words : (i+1)*m.words] }

// leafSets are the leaves on both sides of each node.
func (e *Ensemble) leafSets() (left, right []uint64) {
	left, right = make([]uint64, len(e.nodes)), make([]uint64, len(e.nodes))
	below := func(child int32) uint64 {
		if child < 0 {
			return 1 << (-1 - child)
		}
		return left[child] | right[child]
	}
	for i := len(e.nodes) - 1; i >= 0; i-- { // children come later
		left[i], right[i] = below(e.nodes[i].left), below(e.nodes[i].right)
	}
	return left, right
}

// typical is a value of a bin. All others of the bin go the same way at each node.
func (b *bins) typical(bin int) float64 {
	switch {
	case bin == b.missing:
		return math.NaN()
	case b.categories > 0 && bin == b.categories:
		return -1
	case b.categories > 0:
		return float64(bin)
	case bin == len(b.cuts):
		return math.Inf(1)
	}
	return b.cuts[bin]
}

// of returns the bin of a value.
func (b *bins) of(x float64) int {
	switch {
	case x != x:
		return b.missing
	case b.categories > 0:
		if x >= 0 && x < float64(b.categories) {
			return int(x)
		}
		return b.categories
	}
	// The number of cuts below x, by a search without branches.
	cuts, at := b.cuts, 0
	for n := len(cuts); n > 0; {
		half := (n + 1) / 2
		next := at + half
		if cuts[next-1] < x {
			at = next
		}
		n -= half
	}
	return at
}

// find leaves in s the leaf of each tree.
func (m *masks) find(row []float64, narrow bool, s *Scratch) {
	if len(s.leaves) < m.words {
		s.leaves = make([]uint64, m.words)
	}
	s.rows = s.rows[:0]
	for i := range m.features {
		b := &m.features[i]
		x := row[b.feature]
		if narrow {
			x = float64(float32(x))
		}
		s.rows = append(s.rows, (b.first+b.of(x))*m.words)
	}
	for len(s.rows)%unrolled != 0 || len(s.rows) == 0 {
		s.rows = append(s.rows, 0)
	}
	out := s.leaves[:m.words]
	for i := 0; i < len(s.rows); i += unrolled {
		n := len(out)
		a, b := m.bits[s.rows[i]:][:n], m.bits[s.rows[i+1]:][:n]
		c, d := m.bits[s.rows[i+2]:][:n], m.bits[s.rows[i+3]:][:n]
		if i == 0 {
			for j := range out {
				out[j] = a[j] & b[j] & c[j] & d[j]
			}
			continue
		}
		for j := range out {
			out[j] &= a[j] & b[j] & c[j] & d[j]
		}
	}
}

// add adds the leaf of each tree to the sums, in the order of the trees.
func (m *masks) add(e *Ensemble, s *Scratch, sums []float64) {
	perWord := 64 >> m.shift
	values, n, narrow := m.values, len(e.trees), e.m.Rule == XGBoost
	if len(sums) == 1 && !narrow {
		sum := sums[0]
		for at, word := 0, 0; at < n; word++ {
			leaves := s.leaves[word]
			for end := min(at+perWord, n); at < end; at++ {
				sum += values[at<<m.shift+bits.TrailingZeros64(leaves)]
				leaves >>= 1 << m.shift
			}
		}
		sums[0] = sum
		return
	}
	for at := range n {
		leaves := s.leaves[at/perWord] >> (at % perWord << m.shift)
		v := sums[e.trees[at].output] + values[at<<m.shift+bits.TrailingZeros64(leaves)]
		if narrow {
			v = float64(float32(v))
		}
		sums[e.trees[at].output] = v
	}
}
