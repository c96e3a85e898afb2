package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// An entry is an attribute or a block of a schema, as tfschema.Entry.
type entry struct {
	Required bool             `json:"r"`
	Computed bool             `json:"c"`
	Block    map[string]entry `json:"b"`
	Objects  map[string]entry `json:"a"`
}

// content is what is in a block. Attributes of objects are blocks: tenon writes them so.
func (e entry) content() map[string]entry {
	if e.Block != nil {
		return e.Block
	}
	return e.Objects
}

//go:embed values.json
var valuesText []byte

// values are what a schema lacks.
type values struct {
	// Providers are the settings of providers, by name.
	Providers map[string]map[string]entry `json:"providers"`
	// Defaults stand for settings that a configuration lacks, in texts.
	Defaults map[string]string `json:"defaults"`
	// Types have the values of attributes that are not set, by type and name. Texts refer to attributes of the resource
	// and settings of the provider in braces, and to "digest" and "number", which follow from the configuration.
	Types map[string]map[string]any `json:"types"`
}

// A provider serves the types of a schema.
type provider struct {
	tfprotov5.ProviderServer // what it lacks panics

	types    map[string]map[string]entry
	values   values
	settings map[string]entry // of the provider itself
	set      map[string]any   // what the configuration sets of them
	cloud    *cloud
}

func newProvider(name string) (*provider, error) {
	b, err := os.ReadFile(filepath.Join(os.Getenv(schemasVariable), name+".json"))
	if err != nil {
		return nil, fmt.Errorf("$%s has no schema of %s: %w", schemasVariable, name, err)
	}
	var schema struct {
		Types map[string]map[string]entry `json:"types"`
	}
	p := &provider{set: map[string]any{}}
	if err := json.Unmarshal(b, &schema); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(valuesText, &p.values); err != nil {
		return nil, fmt.Errorf("values.json: %w", err)
	}
	p.types, p.settings = schema.Types, p.values.Providers[name]
	p.cloud, err = openCloud()
	return p, err
}

// plainly is the kind of every attribute, and of every list of blocks that have any: a schema has no kinds.
var plainly tftypes.Type = tftypes.DynamicPseudoType

// kind is that of the values of a type or a block.
func kind(entries map[string]entry) tftypes.Object {
	types := map[string]tftypes.Type{}
	for name, e := range entries {
		content := e.content()
		switch {
		case content != nil && name == timeouts:
			types[name] = kind(content)
		case content != nil && !hasAttributes(content):
			types[name] = tftypes.List{ElementType: kind(content)}
		default:
			types[name] = plainly
		}
	}
	return tftypes.Object{AttributeTypes: types}
}

// hasAttributes reports whether there is an attribute in blocks, or in blocks in them.
func hasAttributes(entries map[string]entry) bool {
	for _, e := range entries {
		if content := e.content(); content == nil || hasAttributes(content) {
			return true
		}
	}
	return false
}

// timeouts is the block of Terraform itself that is there once.
const timeouts = "timeouts"

// block returns the schema of entries. Known are attributes that have a value if they are not set.
func block(entries map[string]entry, known map[string]any) *tfprotov5.SchemaBlock {
	b := new(tfprotov5.SchemaBlock)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		if content := e.content(); content != nil && known[name] == nil {
			n := &tfprotov5.SchemaNestedBlock{TypeName: name, Block: block(content, nil), Nesting: tfprotov5.SchemaNestedBlockNestingModeList}
			switch {
			case name == timeouts:
				n.Nesting = tfprotov5.SchemaNestedBlockNestingModeSingle
			case e.Required:
				n.MinItems = 1
			}
			b.BlockTypes = append(b.BlockTypes, n)
			continue
		}
		_, has := known[name]
		b.Attributes = append(b.Attributes, &tfprotov5.SchemaAttribute{
			Name: name, Type: plainly, Required: e.Required, Optional: !e.Required && !e.Computed, Computed: e.Computed || !e.Required && has,
		})
	}
	return b
}

// known returns what attributes of a type are if they are not set. Every resource has an id.
func (p *provider) known(of string) map[string]any {
	known := maps.Clone(p.values.Types[of])
	if known == nil {
		known = map[string]any{}
	}
	if known["id"] == nil {
		known["id"] = "{digest}"
	}
	return known
}

// schemas returns those of resources, or of data sources.
func (p *provider) schemas(data bool) map[string]*tfprotov5.Schema {
	all := map[string]*tfprotov5.Schema{}
	for of, entries := range p.types {
		if name, is := strings.CutPrefix(of, "data."); is == data {
			all[name] = &tfprotov5.Schema{Block: block(entries, p.known(of))}
		}
	}
	return all
}
