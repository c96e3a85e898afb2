package trees

import (
	"fmt"
	"math"
	"slices"
)

// An Explainer divides the sums of an ensemble among the features of a row: it gives the
// Shapley values of the game in which a feature that is not known goes to both sides of a
// node, in proportion to the training data that did. These are the values of path-dependent
// TreeSHAP (Lundberg et al., "From local explanations to global understanding with explainable
// AI for trees", Nature Machine Intelligence, 2020).
//
// The game of a leaf is a product with one factor for each feature on its path: o if it is
// known, which is 1 if the row passes all nodes that read it and otherwise 0, and z if it is
// not, the product of the shares of the training data. The Shapley value of a feature is
// (o-z) times the integral, from 0 to 1, of the product of t*o + (1-t)*z over all other
// features (Owen's multilinear extension). That is a polynomial, of which a Gauss-Legendre
// quadrature with half as many points as its degree is the exact integral. So all leaves below
// a node share their work (Yu et al., "Linear TreeShap", NeurIPS 2022), and, unlike in the
// weights of subsets of features, nothing is subtracted that deep trees would lose digits by.
//
// An Explainer is safe for concurrent use.
type Explainer struct {
	e       *Ensemble
	columns int
	column  []int        // of each feature: features of a column are added up
	shares  [][2]float64 // of the training data at a node that went to each side
	base    []float64    // the sums of which nothing is known
	points  []float64    // of the quadrature
	weights []float64
	inverse []float64 // of 1-t for each point t
	deepest int       // nodes on a path
	width   int       // the most values that a leaf has
}

// NewExplainer returns an explainer of an ensemble. covers are, for each tree, how much of the
// training data reached each node, and then each leaf. The contributions of all features with
// the same one of the columns are added up.
func NewExplainer(e *Ensemble, covers [][]float64, column []int, columns int) (*Explainer, error) {
	x := &Explainer{e: e, column: column, columns: columns, shares: make([][2]float64, len(e.nodes)), base: make([]float64, e.m.Outputs), width: 1}
	if len(column) != e.m.Features {
		return nil, fmt.Errorf("%d columns of %d features", len(column), e.m.Features)
	}
	if len(covers) != len(e.trees) {
		return nil, fmt.Errorf("covers of %d trees of %d", len(covers), len(e.trees))
	}
	for _, c := range column {
		if c < 0 || c >= columns {
			return nil, fmt.Errorf("a feature belongs to column %d of %d", c, columns)
		}
	}
	features := 0
	copy(x.base, e.m.Baseline)
	seen := make([]int, e.m.Features)
	first := 0
	for i := range e.trees {
		t := &e.trees[i]
		n := len(t.values)/t.width - 1
		if err := x.add(t, first, n, covers[i]); err != nil {
			return nil, fmt.Errorf("tree %d: %w", i, err)
		}
		deep, most := x.measure(t.root, seen)
		x.deepest, features, x.width = max(x.deepest, deep), max(features, most), max(x.width, t.width)
		x.expect(t, t.root, 1)
		first += n
	}
	for i, n := range e.per {
		x.base[i] /= n
	}
	x.points, x.weights = quadrature(max(1, (features+1)/2))
	for _, t := range x.points {
		x.inverse = append(x.inverse, 1/(1-t))
	}
	return x, nil
}

// add notes the shares of a tree with n nodes.
func (x *Explainer) add(t *tree, first, n int, covers []float64) error {
	if n > 0 && len(covers) != 2*n+1 {
		return fmt.Errorf("covers of %d nodes and leaves of %d", len(covers), 2*n+1)
	}
	cover := func(child int32) float64 {
		if child < 0 {
			return covers[n-1-int(child)]
		}
		return covers[int(child)-first]
	}
	for i := range n {
		at := &x.e.nodes[first+i]
		all, left, right := covers[i], cover(at.left), cover(at.right)
		if !(all > 0) || !(left >= 0) || !(right >= 0) || math.IsInf(all+left+right, 0) {
			return fmt.Errorf("node %d was reached by %v of the training data, and its sides by %v and %v", i, all, left, right)
		}
		x.shares[first+i] = [2]float64{left / all, right / all}
	}
	return nil
}

// measure returns how many nodes the longest path has, and how many different features the
// path with the most of them.
func (x *Explainer) measure(at int32, seen []int) (nodes, features int) {
	if at < 0 {
		return 0, 0
	}
	n := &x.e.nodes[at]
	seen[n.feature]++
	for _, child := range []int32{n.left, n.right} {
		deep, most := x.measure(child, seen)
		nodes, features = max(nodes, deep), max(features, most)
	}
	if seen[n.feature]--; seen[n.feature] == 0 {
		features++
	}
	return nodes + 1, features
}

// expect adds the leaves below a node to the base, weighted by the training data.
func (x *Explainer) expect(t *tree, at int32, share float64) {
	if at >= 0 {
		n := &x.e.nodes[at]
		x.expect(t, n.left, share*x.shares[at][0])
		x.expect(t, n.right, share*x.shares[at][1])
		return
	}
	leaf := int(-1 - at)
	for j, v := range t.values[leaf*t.width : (leaf+1)*t.width] {
		x.base[t.output+j] += share * v
	}
}

// Base are the sums for a row of which nothing is known.
func (x *Explainer) Base() []float64 { return x.base }

// An ExplainScratch is memory for explanations, which one goroutine uses again and again.
type ExplainScratch struct {
	x    *Explainer
	row  []float64
	tree *tree
	out  []float64
	// Of each feature on the path to a node: o and z, as above. They are 1 if it is not there.
	known, unknown []float64
	// Of each depth and each point: the product of all factors, and for each value of a leaf the
	// sum of the products of the leaves below, with their values.
	product, below []float64
	before         []float64 // of each depth and point: 1 over the factor that the node there changes
}

// Explain writes the contributions of the columns to each sum into out, sum by sum. They add
// up to the sum less its base.
func (x *Explainer) Explain(row, out []float64, s *ExplainScratch) {
	n := len(x.points)
	if s.x != x {
		*s = ExplainScratch{x: x, known: make([]float64, x.e.m.Features), unknown: make([]float64, x.e.m.Features)}
		s.product, s.below = make([]float64, (x.deepest+1)*n), make([]float64, (x.deepest+1)*n*x.width)
		s.before = make([]float64, (x.deepest+1)*n)
		for i := range s.known {
			s.known[i], s.unknown[i] = 1, 1
		}
		for i := range n {
			s.product[i] = 1
		}
	}
	s.row, s.out = row, out
	clear(out)
	for i := range x.e.trees {
		if s.tree = &x.e.trees[i]; s.tree.root >= 0 {
			s.visit(s.tree.root, 0)
		}
	}
	for i, trees := range x.e.per {
		for j := range x.columns {
			out[i*x.columns+j] /= trees
		}
	}
}

// visit adds the contributions of the leaves below a node or of a leaf, and leaves their
// products in below.
func (s *ExplainScratch) visit(at int32, depth int) {
	x, n, width := s.x, len(s.x.points), s.tree.width
	product := s.product[depth*n:][:n]
	below := s.below[depth*n*x.width:][:n*width]
	if at < 0 {
		leaf := int(-1 - at)
		for j, v := range s.tree.values[leaf*width : (leaf+1)*width] {
			for q := range product {
				below[j*n+q] = v * product[q]
			}
		}
		return
	}
	node := &x.e.nodes[at]
	f := node.feature
	value := s.row[f]
	if x.e.narrow {
		value = float64(float32(value))
	}
	taken, other := 1, 0
	if x.e.left(node, value) {
		taken, other = 0, 1
	}
	clear(below)
	sides, shares := [2]int32{node.left, node.right}, &x.shares[at]
	next := s.product[(depth+1)*n:][:n]
	deeper := s.below[(depth+1)*n*x.width:][:n*width]
	z := s.unknown[f]
	if s.known[f] == 0 {
		// The factor of the feature changes by a constant, and so does nothing else.
		for side, child := range sides {
			share := shares[side]
			if share == 0 {
				continue // no row gets here, whatever of it is known
			}
			for q := range next {
				next[q] = product[q] * share
			}
			s.visit(child, depth+1)
			for i, v := range deeper {
				below[i] += v
			}
		}
		return
	}
	before := s.before[depth*n:][:n] // 1 over the factor so far
	for q, t := range x.points {
		before[q] = 1 / (t + z*(1-t))
	}
	// What the factor so far contributed belongs to nodes above this one.
	passed, failed := z*shares[taken], z*shares[other]
	for q, t := range x.points {
		next[q] = product[q] * before[q] * (t + passed*(1-t))
	}
	s.unknown[f] = passed
	s.visit(sides[taken], depth+1)
	for j := range width {
		sum := 0.0
		for q, t := range x.points {
			v := deeper[j*n+q]
			below[j*n+q] += v
			sum += x.weights[q] * v * ((1-passed)/(t+passed*(1-t)) - (1-z)*before[q])
		}
		s.out[(s.tree.output+j)*x.columns+x.column[f]] += sum
	}
	if failed > 0 {
		for q, t := range x.points {
			next[q] = product[q] * before[q] * (failed * (1 - t))
		}
		s.known[f], s.unknown[f] = 0, failed
		s.visit(sides[other], depth+1)
		for j := range width {
			sum := 0.0
			for q := range x.points {
				v := deeper[j*n+q]
				below[j*n+q] += v
				sum -= x.weights[q] * v * (x.inverse[q] + (1-z)*before[q])
			}
			s.out[(s.tree.output+j)*x.columns+x.column[f]] += sum
		}
	}
	s.known[f], s.unknown[f] = 1, z
}

// quadrature returns the points and weights of Gauss and Legendre from 0 to 1, which integrate
// polynomials of a degree below 2n exactly.
func quadrature(n int) (points, weights []float64) {
	for i := range n {
		t := math.Cos(math.Pi * (float64(i) + 0.75) / (float64(n) + 0.5)) // about the root i of the polynomial
		var slope float64
		for range 100 {
			p, before := 1.0, 0.0
			for k := range n {
				p, before = (float64(2*k+1)*t*p-float64(k)*before)/float64(k+1), p
			}
			slope = float64(n) * (t*p - before) / (t*t - 1)
			step := p / slope
			if t -= step; math.Abs(step) < 1e-15 {
				break
			}
		}
		points = append(points, (1+t)/2)
		weights = append(weights, 1/((1-t*t)*slope*slope))
	}
	slices.Reverse(points)
	slices.Reverse(weights)
	return points, weights
}
