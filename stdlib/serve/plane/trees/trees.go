// Package trees evaluates ensembles of decision trees as the library that trained them
// does, to the last bit. A [Model] is plain data, which the trainer writes as JSON beside
// its own format; an [Ensemble] is a model made ready to be asked.
package trees

import (
	"errors"
	"fmt"
)

// Version is the version of the JSON of a model.
const Version = 1

// A Model is an ensemble of trees over features that are numbers.
type Model struct {
	Version  int       `json:"version"`
	Features int       `json:"features"` // how many a row has
	Float32  bool      `json:"float32,omitempty"`
	Rule     Rule      `json:"rule"`
	Outputs  int       `json:"outputs"`            // numbers that the trees give for a row
	Baseline []float64 `json:"baseline,omitempty"` // what they start with; nil for 0
	Average  bool      `json:"average,omitempty"`  // divide sums by the number of trees of an output
	Link     Link      `json:"link"`
	Trees    []Tree    `json:"trees"`
}

// A Rule says on which side of a node a value goes.
type Rule string

const (
	// SKLearn: a missing value (NaN) goes where the node says, any other to the left if
	// it is at most the threshold. A category that the node does not list goes to the right.
	SKLearn Rule = "sklearn"
	// LightGBM: as its Tree::Decision, by the kind of missing value of the node.
	LightGBM Rule = "lightgbm"
	// XGBoost: in float32, as are its sums and links. A value goes to the left if it is
	// less than the threshold, a category that the node lists to the right.
	XGBoost Rule = "xgboost"
)

// A Link makes predictions of the sums of the trees.
type Link string

const (
	Identity Link = "identity"
	Logistic Link = "logistic" // of one sum: the probabilities of both classes
	Softmax  Link = "softmax"
)

// A Tree is a binary tree, its nodes by index, the first its root. Leaf i is the child -1-i.
type Tree struct {
	Output     int        `json:"output,omitempty"` // to which it adds; with Values of several columns, the first
	Feature    []int      `json:"feature,omitempty"`
	Threshold  []float64  `json:"threshold,omitempty"`
	Left       []int      `json:"left,omitempty"`
	Right      []int      `json:"right,omitempty"`
	Missing    []string   `json:"missing,omitempty"`    // of a node: "left", "right"; LightGBM: also "zero left", "none" ...
	Categories [][]uint32 `json:"categories,omitempty"` // of a node: a bit for each category that it lists; nil for a number
	Values     []float64  `json:"values"`               // of leaf i, one for each output from Output on
	Width      int        `json:"width,omitempty"`      // values of a leaf; 0 is 1
}

// node is compact: two of them fit a cache line.
type node struct {
	threshold   float64
	left, right int32
	feature     int32
	flags       uint8
	categories  int32 // index of the set, if it is a node of categories
}

const (
	missingLeft = 1 << iota
	categorical
	zeroIsMissing
	nanIsMissing
)

type tree struct {
	root   int32
	output int
	width  int
	values []float64
}

// An Ensemble is safe for concurrent use.
type Ensemble struct {
	m     Model
	nodes []node
	sets  [][]uint32
	trees []tree
	per   []float64 // trees of each output, if they are averaged
	masks *masks    // nil if the trees are walked

	narrow bool // they read float32
	strict bool // the rule of XGBoost: less than the threshold, not in the set
}

// New checks a model and makes it ready.
func New(m Model) (*Ensemble, error) {
	e := &Ensemble{m: m, narrow: m.Float32 && m.Rule == SKLearn || m.Rule == XGBoost, strict: m.Rule == XGBoost}
	switch {
	case m.Version != Version:
		return nil, fmt.Errorf("the trees have version %d; this tenon reads %d", m.Version, Version)
	case m.Features < 1, m.Outputs < 1:
		return nil, errors.New("a model of trees needs features and outputs")
	case m.Rule != SKLearn && m.Rule != LightGBM && m.Rule != XGBoost:
		return nil, fmt.Errorf("unknown rule %q of trees", m.Rule)
	case m.Link != Identity && m.Link != Logistic && m.Link != Softmax:
		return nil, fmt.Errorf("unknown link %q of trees", m.Link)
	case m.Link == Logistic && m.Outputs != 1:
		return nil, fmt.Errorf("a logistic link wants 1 output, not %d", m.Outputs)
	case m.Baseline != nil && len(m.Baseline) != m.Outputs:
		return nil, fmt.Errorf("there are %d baselines for %d outputs", len(m.Baseline), m.Outputs)
	}
	if m.Average {
		e.per = make([]float64, m.Outputs)
	}
	for i := range m.Trees {
		if err := e.add(&m.Trees[i]); err != nil {
			return nil, fmt.Errorf("tree %d: %w", i, err)
		}
	}
	for i, n := range e.per {
		if n == 0 {
			return nil, fmt.Errorf("no tree gives output %d", i)
		}
	}
	e.m.Trees = nil // they are in nodes
	e.masks = newMasks(e)
	return e, nil
}

func (e *Ensemble) add(t *Tree) error {
	width := max(t.Width, 1)
	n := len(t.Feature)
	switch {
	case len(t.Threshold) != n, len(t.Left) != n, len(t.Right) != n, len(t.Missing) != n,
		t.Categories != nil && len(t.Categories) != n:
		return errors.New("its columns have different lengths")
	case t.Output < 0, t.Output+width > e.m.Outputs:
		return fmt.Errorf("it gives outputs %d to %d of %d", t.Output, t.Output+width-1, e.m.Outputs)
	case len(t.Values) != (n+1)*width:
		return fmt.Errorf("it has %d values for %d leaves", len(t.Values), n+1)
	}
	base := int32(len(e.nodes))
	reached := make([]bool, 2*n+1) // nodes, then leaves
	child := func(at, c int) (int32, error) {
		if c >= n || c < -1-n {
			return 0, fmt.Errorf("node %d has a child %d of %d nodes", at, c, n)
		}
		i := c
		if c < 0 {
			i = n - 1 - c
		}
		if c >= 0 && c <= at || reached[i] { // a child comes later: no cycle
			return 0, fmt.Errorf("node %d leads back to %d", at, c)
		}
		reached[i] = true
		if c < 0 {
			return int32(c), nil
		}
		return base + int32(c), nil
	}
	for i := range n {
		x := node{threshold: t.Threshold[i], feature: int32(t.Feature[i])}
		if t.Feature[i] < 0 || t.Feature[i] >= e.m.Features {
			return fmt.Errorf("node %d reads feature %d of %d", i, t.Feature[i], e.m.Features)
		}
		flags, err := e.missing(t.Missing[i])
		if err != nil {
			return err
		}
		x.flags = flags
		if t.Categories != nil && t.Categories[i] != nil {
			x.flags |= categorical
			x.categories = int32(len(e.sets))
			e.sets = append(e.sets, t.Categories[i])
		}
		if x.left, err = child(i, t.Left[i]); err != nil {
			return err
		}
		if x.right, err = child(i, t.Right[i]); err != nil {
			return err
		}
		e.nodes = append(e.nodes, x)
	}
	root := base
	if n == 0 {
		root = -1
	}
	e.trees = append(e.trees, tree{root: root, output: t.Output, width: width, values: t.Values})
	for i := range width {
		if e.per != nil {
			e.per[t.Output+i]++
		}
	}
	return nil
}

func (e *Ensemble) missing(s string) (uint8, error) {
	if e.m.Rule != LightGBM {
		switch s {
		case "left":
			return missingLeft, nil
		case "right":
			return 0, nil
		}
		return 0, fmt.Errorf("unknown side %q of missing values", s)
	}
	switch s {
	case "none":
		return 0, nil
	case "nan left":
		return nanIsMissing | missingLeft, nil
	case "nan right":
		return nanIsMissing, nil
	case "zero left":
		return zeroIsMissing | missingLeft, nil
	case "zero right":
		return zeroIsMissing, nil
	}
	return 0, fmt.Errorf("unknown kind %q of missing values", s)
}

// Features is how many numbers a row has.
func (e *Ensemble) Features() int { return e.m.Features }

// Outputs is how many numbers [Ensemble.Predict] gives.
func (e *Ensemble) Outputs() int {
	if e.m.Link == Logistic {
		return 2
	}
	return e.m.Outputs
}

// Nodes is how many nodes all trees have.
func (e *Ensemble) Nodes() int { return len(e.nodes) }

// Sums is how many numbers the trees give for a row, before predictions are made of them.
func (e *Ensemble) Sums() int { return e.m.Outputs }

// Predict writes the predictions for a row into out: probabilities of the classes, or the
// number of a regression. It allocates nothing once it has used s.
func (e *Ensemble) Predict(row, out []float64, s *Scratch) {
	sums := out[:e.m.Outputs]
	clear(sums)
	copy(sums, e.m.Baseline)
	if e.masks != nil {
		e.masks.find(row, e.narrow, s)
		e.masks.add(e, s, sums)
	} else {
		e.walk(row, sums)
	}
	if e.m.Average {
		for i := range sums {
			sums[i] /= e.per[i]
		}
	}
	e.link(out)
}

// walk adds the leaves of all trees.
func (e *Ensemble) walk(row, sums []float64) {
	for i := range e.trees {
		t := &e.trees[i]
		leaf := e.leaf(t.root, row)
		for j, v := range t.values[leaf*t.width : (leaf+1)*t.width] {
			sums[t.output+j] += v
			if e.m.Rule == XGBoost {
				// Twice the bits of the parts suffice to round the sum of two float32 only once.
				sums[t.output+j] = float64(float32(sums[t.output+j]))
			}
		}
	}
}

func (e *Ensemble) leaf(at int32, row []float64) int {
	if e.m.Rule == LightGBM {
		for at >= 0 {
			n := &e.nodes[at]
			if at = n.right; e.leftLightGBM(n, row[n.feature]) {
				at = n.left
			}
		}
		return int(-1 - at)
	}
	for at >= 0 {
		n := &e.nodes[at]
		x := row[n.feature]
		if e.narrow {
			x = float64(float32(x))
		}
		if at = n.right; e.leftOther(n, x) {
			at = n.left
		}
	}
	return int(-1 - at)
}

// left reports on which side of a node a value goes. The value is a float32 if the trees read
// those.
func (e *Ensemble) left(n *node, x float64) bool {
	if e.m.Rule == LightGBM {
		return e.leftLightGBM(n, x)
	}
	return e.leftOther(n, x)
}

func (e *Ensemble) leftOther(n *node, x float64) bool {
	switch {
	case x != x:
		return n.flags&missingLeft != 0
	case n.flags&categorical != 0:
		return has(e.sets[n.categories], x) != e.strict
	case e.strict:
		return x < n.threshold
	}
	return x <= n.threshold
}

// zero is LightGBM's kZeroThreshold, a float.
const zero = float64(float32(1e-35))

func (e *Ensemble) leftLightGBM(n *node, x float64) bool {
	if n.flags&categorical != 0 {
		return x == x && has(e.sets[n.categories], x)
	}
	if x != x {
		if n.flags&nanIsMissing != 0 {
			return n.flags&missingLeft != 0
		}
		x = 0
	}
	if n.flags&zeroIsMissing != 0 && x >= -zero && x <= zero {
		return n.flags&missingLeft != 0
	}
	return x <= n.threshold
}

// has reports whether a category, a whole number, is in a set of bits.
func has(set []uint32, x float64) bool {
	if !(x >= 0 && x < float64(32*len(set))) {
		return false
	}
	c := uint32(x)
	return set[c/32]>>(c%32)&1 != 0
}
