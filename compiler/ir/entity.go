package ir

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// An Entity is one entry of a section as the user declared it, with the units made from
// it. It explains units; it is part of no digest, and nothing runs because of it.
type Entity struct {
	ID        string `json:"id"`        // "models/late"
	Component string `json:"component"` // "train.sklearn"
	Pos       Pos    `json:"pos"`
	// Fields holds the declared fields with their defaults, a JSON object with sorted
	// keys. It omits the name, the component, the inputs, and the declared columns: those
	// are in Inputs and in the outputs of units. Secrets are references.
	Fields  json.RawMessage `json:"fields,omitempty"`
	Places  Places          `json:"places,omitempty"` // see [Entity.Place]
	Inputs  []EntityInput   `json:"inputs,omitempty"`
	Outputs []EntityOutput  `json:"outputs,omitempty"`
	Stages  []Stage         `json:"stages,omitempty"` // its units, in order
	// Limits lists fields that bound what callers may request: a lower value rejects
	// requests that were allowed before.
	Limits []string `json:"limits,omitempty"`
	// Edge names the fields that say who may ask a service, and how much; nil if nothing does.
	Edge *EdgeFields `json:"edge,omitempty"`
	// Known lists the inputs of a model that reveal its label, later rows or its test rows,
	// and that its user declares to be known when a prediction is made.
	Known []string `json:"known,omitempty"`
	// Warnings are about what works, but is probably not what the user wants.
	Warnings []Warning `json:"warnings,omitempty"`
	// Query names the field with the query in SQL that makes its table, if there is one.
	Query string `json:"query,omitempty"`
	// Trusted lists the columns of a feature that its query may break the declaration of,
	// as far as the compiler can tell, and whose declaration its user trusts.
	Trusted []string `json:"trusted,omitempty"`
}

// EdgeFields are the names of fields, as [tenon.#Component] describes them.
type EdgeFields struct {
	TLS        string `json:"tls"`
	Auth       string `json:"auth"`
	Limits     string `json:"limits"`
	CORS       string `json:"cors"`
	Audit      string `json:"audit"`
	Management string `json:"management"`
}

// All returns those that are named.
func (f EdgeFields) All() []string {
	return slices.DeleteFunc([]string{f.TLS, f.Auth, f.Limits, f.CORS, f.Audit, f.Management}, func(s string) bool { return s == "" })
}

// A Warning does not keep a system from being applied.
type Warning struct {
	Message string `json:"message"`
	At      string `json:"at,omitempty"` // "late.cue:12:3"
	Hint    string `json:"hint,omitempty"`
}

// An EntityInput is an output of another entity that an entity reads.
type EntityInput struct {
	Field  string   `json:"field"`  // "in.table"
	Entity string   `json:"entity"` // "features/late"
	Out    string   `json:"out"`    // as written in the source: "out", "out.rows"
	Kind   PortKind `json:"kind"`
	// Columns lists the table columns that the entity names, for example in a query. It
	// is nil if the compiler does not know which columns are read.
	Columns []string `json:"columns,omitzero"`
}

// An EntityOutput is an output that other entities may read.
type EntityOutput struct {
	Port string `json:"port"`
	Unit string `json:"unit"` // which has the port
	// Schema is the field that declares the columns of a table, or "" if they follow from
	// the inputs of the entity.
	Schema string `json:"schema,omitempty"`
}

// A Stage is a unit of an entity.
type Stage struct {
	Unit string `json:"unit"` // its id
	// Fields maps parameters to the fields behind them, if their names differ:
	// "fraction": "test.fraction". A parameter without a field maps to "". The fields of
	// the endpoint are under "endpoint.host" and "endpoint.port".
	Fields map[string]string `json:"fields,omitempty"`
}

// Places map fields and columns, by path, such as "test.fraction", to where they are
// written, "FILE:LINE:COL". A field without a place is a default, or is written elsewhere.
//
// It is a JSON object, because a system has many places and most commands show none.
type Places []byte

// PlacesOf returns places as data.
func PlacesOf(places map[string]string) Places {
	if len(places) == 0 {
		return nil
	}
	b, _ := json.Marshal(places) // texts can always be marshalled
	return b
}

// All returns the places by path.
func (p Places) All() map[string]string {
	var places map[string]string
	_ = json.Unmarshal(p, &places) // it was written by [PlacesOf]
	return places
}

// MarshalJSON implements [json.Marshaler].
func (p Places) MarshalJSON() ([]byte, error) { return json.RawMessage(p).MarshalJSON() }

// UnmarshalJSON implements [json.Unmarshaler].
func (p *Places) UnmarshalJSON(b []byte) error {
	var places map[string]string
	err := json.Unmarshal(b, &places)
	*p = PlacesOf(places)
	return err
}

// Entity returns the entity with the given id, or nil.
func (s *System) Entity(id string) *Entity {
	for i := range s.Entities {
		if s.Entities[i].ID == id {
			return &s.Entities[i]
		}
	}
	return nil
}

// Place returns where a field is written, or the nearest part of the entity around it.
func (e *Entity) Place(path string) string {
	for places := e.Places.All(); path != ""; {
		if at, ok := places[path]; ok {
			return at
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	if e.Pos == (Pos{}) {
		return ""
	}
	return e.Pos.String()
}

// Field returns the field behind a part of the definition of one of the entity's units,
// such as "params.fraction" or "output out column age", or "".
func (e *Entity) Field(unit, part string) string {
	for i := range e.Stages {
		if s := &e.Stages[i]; s.Unit == unit {
			if field := s.field(part); field != "" {
				return field
			}
		}
	}
	for _, o := range e.Outputs {
		rest, ok := strings.CutPrefix(part, "output "+o.Port+" ")
		if of, column, found := strings.Cut(rest, "column "); ok && found && o.Unit == unit {
			if of = strings.TrimSpace(of); of == "" { // of a table; otherwise of the request or the response
				of = o.Schema
			}
			if of != "" {
				return of + "." + column
			}
		}
	}
	return ""
}

func (s *Stage) field(part string) string {
	path, ok := strings.CutPrefix(part, "params.")
	if !ok {
		return s.Fields[part]
	}
	param, rest := path, ""
	if i := strings.IndexAny(path, ".["); i >= 0 && path[0] != '"' {
		param, rest = path[:i], path[i:]
	}
	field, mapped := s.Fields[param]
	switch {
	case !mapped:
		return path
	case field == "":
		return ""
	}
	return field + rest
}

// JoinPath returns the path of a field below another, in CUE notation.
func JoinPath(path, field string) string {
	if field == "" || strings.ContainsFunc(field, func(r rune) bool {
		return r != '_' && !(r >= 'a' && r <= 'z') && !(r >= 'A' && r <= 'Z') && !(r >= '0' && r <= '9')
	}) || field[0] >= '0' && field[0] <= '9' {
		field = strconv.Quote(field)
	}
	if path == "" {
		return field
	}
	return path + "." + field
}
