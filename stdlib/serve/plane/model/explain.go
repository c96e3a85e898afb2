package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/trees"
)

// An Explainer says what each column of a row contributes to its prediction, see
// [trees.Explainer]. It is safe for concurrent use.
type Explainer struct {
	m       *Model
	trees   *trees.Explainer
	unit    string
	classes []int // of the sums that are explained; nil if there is one sum, of no class
	base    []float64
	sums    []int // which of the trees' are explained
}

// nodeCovers is the part of a document that only explanations need.
type nodeCovers struct {
	Trees struct {
		Trees []struct {
			Covers []float64 `json:"covers"`
		} `json:"trees"`
	} `json:"trees"`
}

// What the contributions of a row add up to.
const (
	LogOdds     = "log-odds"    // of one class of two
	Score       = "score"       // of a class: the probabilities are the softmax of all scores
	Probability = "probability" // of a class
	Prediction  = "prediction"
)

// NewExplainer returns an explainer of the model in a document. It needs the document again,
// because a model does not keep what predictions do not need.
func NewExplainer(m *Model, document []byte) (*Explainer, error) {
	if m.doc.ONNX != nil {
		return nil, errors.New("it is a graph for ONNX Runtime, and only trees are explained")
	}
	if m.linear != nil {
		return nil, errors.New("it is a linear model, and only trees are explained")
	}
	if slices.ContainsFunc(m.doc.Steps, func(s Step) bool { return s.Op == OpProduct }) {
		return nil, errors.New("its pipeline multiplies columns, and a contribution is that of one")
	}
	var c nodeCovers
	if err := json.Unmarshal(document, &c); err != nil {
		return nil, err
	}
	var covers [][]float64
	some := false
	for _, t := range c.Trees.Trees {
		covers = append(covers, t.Covers)
		some = some || len(t.Covers) > 0
	}
	if !some && m.ensemble.Nodes() > 0 {
		return nil, errors.New("it was trained by an earlier version of Tenon, which did not write how much of the training data reached each node")
	}
	column := make([]int, len(m.doc.Reads))
	for i, r := range m.doc.Reads {
		column[i] = m.program.origins[r]
	}
	x := &Explainer{m: m, unit: Prediction, sums: []int{0}}
	var err error
	if x.trees, err = trees.NewExplainer(m.ensemble, covers, column, len(m.doc.Columns)); err != nil {
		return nil, fmt.Errorf("its trees cannot be explained: %w", err)
	}
	switch classes := len(m.doc.Classes); {
	case m.doc.Trees.Link == trees.Logistic:
		x.unit, x.classes = LogOdds, []int{1}
	case classes == 2 && m.doc.Trees.Link == trees.Identity:
		// Those of the other class are the same with another sign.
		x.unit, x.classes, x.sums = Probability, []int{1}, []int{1}
	case classes > 0:
		if x.unit = Probability; m.doc.Trees.Link == trees.Softmax {
			x.unit = Score
		}
		x.classes, x.sums = make([]int, classes), make([]int, classes)
		for i := range classes {
			x.classes[i], x.sums[i] = i, i
		}
	}
	for _, i := range x.sums {
		x.base = append(x.base, x.trees.Base()[i])
	}
	return x, nil
}

// Unit is what contributions add up to: one of the constants above.
func (x *Explainer) Unit() string { return x.unit }

// Classes are those whose sums are explained: one of two, all of several, or none if the
// prediction is a number.
func (x *Explainer) Classes() []int { return x.classes }

// Base are the sums of which nothing is known of a row: of each class, or of the prediction.
func (x *Explainer) Base() []float64 { return x.base }

// Explain writes the contributions of the columns to each sum of each row into out. With
// the base, they add up to the sum. An error is a [*RowError], or that of the context.
func (x *Explainer) Explain(ctx context.Context, rows []rowsql.Value, out []float64, b *Buffer) error {
	m := x.m
	columns := len(m.doc.Columns)
	if n := m.ensemble.Sums() * columns; len(b.contributions) < n {
		b.contributions = make([]float64, n)
	}
	for i := range len(rows) / columns {
		if err := ctx.Err(); err != nil {
			return err
		}
		numbers, err := m.numbers(rows[i*columns:(i+1)*columns], b)
		if err != nil {
			return &RowError{i, err}
		}
		x.trees.Explain(numbers, b.contributions[:m.ensemble.Sums()*columns], &b.explain)
		for _, sum := range x.sums {
			out = out[copy(out, b.contributions[sum*columns:(sum+1)*columns]):]
		}
	}
	return nil
}
