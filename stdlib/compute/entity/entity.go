// Package entity is what Go code of the library sees of an entity when a system is
// compiled.
package entity

import "encoding/json"

// An Entity is one entry of a section.
type Entity struct {
	System        string // the name of the system
	Env           string // its environment, "" for the one without a name
	Section, Name string // "slos", "api"
	Component     string // "slo.rules"
	// Fields are the declared fields as JSON values; numbers are [json.Number].
	Fields json.RawMessage
	Inputs map[string]Entity // the entities it reads, by port; they have no inputs or readers
	// Readers are the entities that read it, in the order of the system.
	Readers []Entity
}

// Decode reads the fields into a struct.
func (e Entity) Decode(to any) error { return json.Unmarshal(e.Fields, to) }
