package requestlog

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// Columns of a file, see package requests.
const (
	Time        = requests.Time
	RequestID   = requests.RequestID
	RowNumber   = requests.RowNumber
	Version     = requests.Version
	Digest      = requests.Digest
	Latency     = requests.Latency
	Position    = requests.Position
	Pod         = requests.Pod
	Fallback    = requests.Fallback
	Prediction  = requests.Prediction
	Probability = requests.Probability

	RequestPrefix     = requests.RequestPrefix
	FeaturePrefix     = requests.FeaturePrefix
	ProbabilityPrefix = requests.ProbabilityPrefix
)

// A Head says what the rows of a file are. It is in the metadata of the file.
type Head struct {
	Format   int               `json:"format"` // of files: [Format]
	Unit     string            `json:"unit"`
	Instance string            `json:"instance"` // of the service that wrote it
	Pod      string            `json:"pod,omitempty"`
	Model    string            `json:"model"`   // its name
	Version  int               `json:"version"` // of the model
	Inputs   map[string]string `json:"inputs"`  // digests of the inputs of the service, by port
	// Contract is the digest of how features are computed; "" if a request has the columns of
	// the model.
	Contract string `json:"contract,omitempty"`
	// History says that rows have the position of their history in the log of events, whose
	// name is Events; "" if the service takes no events.
	History bool   `json:"history,omitempty"`
	Events  string `json:"events,omitempty"`

	Request  ir.Schema         `json:"request"`            // columns of a request
	Features ir.Schema         `json:"features,omitempty"` // of the model, if they are computed from it
	Label    ir.Column         `json:"label"`              // what is predicted
	Classes  []json.RawMessage `json:"classes,omitempty"`  // of a classification
	Private  []string          `json:"private,omitempty"`  // columns that are not written
	// OnlyClasses says that the model has no probabilities.
	OnlyClasses bool `json:"only_classes,omitempty"`
}

// Format is the version of the layout of files.
const Format = 1

const metadata = "tenon.requests"

// A column of a file.
type column struct {
	ir.Column
	from   source
	index  int            // in the values of that
	labels []rowsql.Value // of the classes, if it is the prediction of a class
}

// A source of the values of a column.
type source int

const (
	ofEntry source = iota
	ofRequest
	ofFeatures
	ofOutputs
	ofClass
)

// Columns are those of a file, in their order.
func (h *Head) Columns() ir.Schema {
	var s ir.Schema
	for _, c := range h.columns() {
		s = append(s, c.Column)
	}
	return s
}

func (h *Head) columns() []column {
	all := []column{
		{Column: ir.Column{Name: Time, Type: "timestamptz"}}, {Column: ir.Column{Name: RequestID, Type: "string"}}, {Column: ir.Column{Name: RowNumber, Type: "int32"}},
		{Column: ir.Column{Name: Version, Type: "int32"}}, {Column: ir.Column{Name: Digest, Type: "string"}}, {Column: ir.Column{Name: Latency, Type: "int64"}},
	}
	if h.History {
		all = append(all, column{Column: ir.Column{Name: Position, Type: "int64"}})
	}
	if h.Pod != "" {
		all = append(all, column{Column: ir.Column{Name: Pod, Type: "string"}})
	}
	all = append(all, column{Column: ir.Column{Name: Fallback, Type: "string", Nullable: true}})
	add := func(prefix string, s ir.Schema, from source) {
		for i, c := range s {
			if !slices.Contains(h.Private, c.Name) {
				all = append(all, column{Column: ir.Column{Name: prefix + c.Name, Type: c.Type, Nullable: true, NaN: true}, from: from, index: i})
			}
		}
	}
	add(RequestPrefix, h.Request, ofRequest)
	add(FeaturePrefix, h.Features, ofFeatures)
	if len(h.Classes) == 0 {
		return append(all, column{Column: ir.Column{Name: Prediction, Type: "float64", NaN: true}, from: ofOutputs})
	}
	class := column{Column: ir.Column{Name: Prediction, Type: h.Label.Type}, from: ofClass}
	if class.labels = labels(h.Label.Type, h.Classes); class.labels == nil {
		class.Type, class.labels = "string", texts(h.Classes)
	}
	if all = append(all, class); h.OnlyClasses {
		return all
	}
	all = append(all, column{Column: ir.Column{Name: Probability, Type: "float64", NaN: true}, from: ofEntry})
	for i, name := range texts(h.Classes) {
		all = append(all, column{Column: ir.Column{Name: ProbabilityPrefix + name.Text, Type: "float64", NaN: true}, from: ofOutputs, index: i})
	}
	return all
}

// Class returns the index of a predicted class, or -1.
func (h *Head) Class(prediction rowsql.Value) int {
	for _, c := range h.columns() {
		if c.Name == Prediction {
			return slices.Index(c.labels, prediction)
		}
	}
	return -1
}

// labels are the values of classes, or nil if they are of another type.
func labels(typ string, classes []json.RawMessage) []rowsql.Value {
	var all []rowsql.Value
	for _, c := range classes {
		var err error
		var v rowsql.Value
		switch {
		case typ == "bool":
			var x bool
			err = json.Unmarshal(c, &x)
			v = rowsql.Bool(x)
		case typ == "string":
			var x string
			err = json.Unmarshal(c, &x)
			v = rowsql.String(x)
		case strings.HasPrefix(typ, "uint"):
			var x uint64
			err = json.Unmarshal(c, &x)
			v = rowsql.Uint(x)
		case strings.HasPrefix(typ, "int"):
			var x int64
			err = json.Unmarshal(c, &x)
			v = rowsql.Int(x)
		default:
			return nil
		}
		if err != nil {
			return nil
		}
		all = append(all, v)
	}
	return all
}

// texts are classes as texts.
func texts(classes []json.RawMessage) []rowsql.Value {
	var all []rowsql.Value
	for _, c := range classes {
		var s string
		if json.Unmarshal(c, &s) != nil {
			s = string(c)
		}
		all = append(all, rowsql.String(s))
	}
	return all
}

// check refuses two columns of one name, which Parquet cannot have.
func (h *Head) check() error {
	seen := map[string]bool{}
	for _, c := range h.columns() {
		if seen[c.Name] {
			return fmt.Errorf("two columns of the request log have the name %s", c.Name)
		}
		seen[c.Name] = true
	}
	return nil
}
