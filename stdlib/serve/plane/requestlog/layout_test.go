package requestlog

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A model in Python may predict classes without probabilities.
func TestColumnsOfAModelWithoutProbabilities(t *testing.T) {
	h := Head{Request: ir.Schema{{Name: "x", Type: "int64"}}, Label: ir.Column{Name: "y", Type: "bool"}, Classes: []json.RawMessage{json.RawMessage("false"), json.RawMessage("true")}}
	names := func() (all []string) {
		for _, c := range h.Columns()[7:] {
			all = append(all, c.Name)
		}
		return all
	}
	if got, want := names(), []string{"request.x", "prediction", "probability", "probability.false", "probability.true"}; !slices.Equal(got, want) {
		t.Errorf("with probabilities there are %q, want %q", got, want)
	}
	h.OnlyClasses = true
	if got, want := names(), []string{"request.x", "prediction"}; !slices.Equal(got, want) {
		t.Errorf("without them there are %q, want %q", got, want)
	}
}
