package worker

import (
	"encoding/json"
	"math"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// Columns are those of a row.
func (p *Pool) Columns() ir.Schema { return p.Signature.Input }

// Classes are those of a classification, as JSON.
func (p *Pool) Classes() []json.RawMessage { return p.classes }

// ClassNames are the classes as JSON strings.
func (p *Pool) ClassNames() []string { return p.about.Names }

// Outputs is how many numbers a prediction is: the predicted number; or the probabilities of the
// classes, if the model knows any, and the index of the predicted class.
func (p *Pool) Outputs() int { return p.outputs }

// Probabilities reports whether the model knows probabilities of its classes.
func (p *Pool) Probabilities() bool { return p.about.Probabilities }

// Class returns the class that outputs predict, and the probability that goes with it: of true
// if the label is a bool, and otherwise of the predicted class. It is NaN if the model knows no
// probabilities.
func (p *Pool) Class(outputs []float64) (class int, probability float64) {
	class = int(outputs[len(outputs)-1])
	switch {
	case !p.about.Probabilities:
		return class, math.NaN()
	case p.positive >= 0:
		return class, outputs[p.positive]
	}
	return class, outputs[class]
}
