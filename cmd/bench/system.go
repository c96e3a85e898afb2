package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/stdlib"
)

const (
	perFile  = 100 // entities of one .cue file
	perGroup = 10  // entities that begin at one source
	dataRows = 20
)

// An entity is a source, if it reads nothing, or a feature. Every entity is one
// unit, and has ten columns.
type entity struct {
	name   string
	number int // is in the query and the data, so that no two are the same
	reads  []*entity
}

func (e *entity) id() string {
	if len(e.reads) == 0 {
		return "sources/" + e.name
	}
	return "features/" + e.name
}

func (e *entity) data() string { return "data/" + e.name + ".csv" }

// shape says what the entities of a group read: the place of others within the
// group, or of the source of the group before.
var shape = [perGroup][]int{1: {0}, 2: {1}, 3: {0}, 4: {2, 3}, 5: {4}, 6: {0, neighbour}, 7: {6}, 8: {7}, 9: {5, 8}}

const neighbour = -perGroup

// entities makes n entities, a multiple of ten.
func entities(n int) []*entity {
	all := make([]*entity, 0, n)
	for i := range n {
		e := &entity{name: fmt.Sprintf("t%05d", i), number: i}
		first := i - i%perGroup
		for _, r := range shape[i%perGroup] {
			if first+r >= 0 {
				e.reads = append(e.reads, all[first+r])
			}
		}
		all = append(all, e)
	}
	return all
}

// middle is a source in the middle of a system, and the feature that reads it
// first.
func middle(all []*entity) (source, feature *entity) {
	i := len(all) / 2
	i -= i % perGroup
	return all[i], all[i+1]
}

// behind counts an entity and all that read it, through others as well.
func behind(all []*entity, e *entity) int {
	reached := map[*entity]bool{e: true}
	for _, o := range all {
		for _, r := range o.reads {
			reached[o] = reached[o] || reached[r]
		}
	}
	n := 0
	for _, is := range reached {
		if is {
			n++
		}
	}
	return n
}

// change gives an entity another definition, or a source other data. It has to
// be written.
func (e *entity) change() { e.number += 1_000_000 }

// A folder writes files into a folder, and remembers what failed.
type folder struct {
	dir string
	err error
}

func (f *folder) write(name, content string) {
	path := filepath.Join(f.dir, name)
	f.err = errors.Join(f.err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644))
}

func (f *folder) module() {
	f.write("cue.mod/module.cue", fmt.Sprintf("module: \"example.com/bench@v0\"\nlanguage: version: \"v0.17.0\"\ndeps: %q: {v: %q, default: true}\n",
		stdlib.Module, stdlib.Version))
}

// writeSystem writes the system of the entities into dir, and the data.
func writeSystem(dir string, all []*entity) error {
	f := &folder{dir: dir}
	f.module()
	f.write("system.cue", "package bench\n\nimport \"tenon.dev/tenon\"\n\ntenon.#System\nname: \"bench\"\n")
	for i := 0; i < len(all); i += perFile {
		f.part(all, i)
	}
	for _, e := range all {
		if len(e.reads) == 0 {
			f.write(e.data(), e.rows())
		}
	}
	return f.err
}

// part writes the .cue file that contains the entity at i.
func (f *folder) part(all []*entity, i int) {
	i -= i % perFile
	f.write(fmt.Sprintf("part%03d.cue", i/perFile), part(all[i:min(i+perFile, len(all))]))
}

// part is the .cue file of some entities.
func part(some []*entity) string {
	var b strings.Builder
	b.WriteString(`package bench

import (
	"tenon.dev/col"
	"tenon.dev/feature"
	"tenon.dev/source"
)
`)
	for _, e := range some {
		switch len(e.reads) {
		case 0:
			fmt.Fprintf(&b, sourceCUE, e.name, e.data())
		case 1:
			fmt.Fprintf(&b, selectCUE, e.name, reference(e.reads[0]), e.number)
		default:
			fmt.Fprintf(&b, joinCUE, e.name, reference(e.reads[0]), reference(e.reads[1]), e.number)
		}
	}
	return b.String()
}

func reference(e *entity) string { return strings.Replace(e.id(), "/", ".", 1) + ".out" }

const sourceCUE = `
sources: %s: source.#CSV & {
	path: %q
	keys: ["id"]
	timestamp: "seen"
	schema: {
		id:     col.#Int64 & {unique: true}
		seen:   col.#Timestamp
		amount: col.#Float64 & {min: 0, unit: "EUR"}
		pieces: col.#Int64 & {min: 0}
		ratio:  col.#Float64 & {nullable: true}
		kind:   col.#String & {values: ["a", "b", "c"]}
		open:   col.#Bool
		day:    col.#Date
		label:  col.#String
		score:  col.#Float64 & {min: 0}
	}
}
`

const selectCUE = `
features: %s: feature.#SQL & {
	in: a: %s
	keys: ["id"]
	timestamp: "seen"
	sql: """
		SELECT id, seen, amount + %d AS amount, pieces + 1 AS pieces, ratio, kind, NOT open AS open, day,
			upper(label) AS label, score + amount AS score
		FROM a
		"""
	schema: {
		id:     in.a.schema.id
		seen:   in.a.schema.seen
		amount: col.#Float64 & {min: 0}
		pieces: col.#Int64 & {min: 1}
		ratio:  in.a.schema.ratio
		kind:   in.a.schema.kind
		open:   col.#Bool
		day:    in.a.schema.day
		label:  col.#String
		score:  col.#Float64 & {min: 0}
	}
}
`

const joinCUE = `
features: %s: feature.#SQL & {
	in: {
		a: %s
		b: %s
	}
	keys: ["id"]
	timestamp: "seen"
	sql: """
		SELECT a.id, a.seen, a.amount, b.pieces, a.ratio, b.kind, a.open AND b.open AS open, b.day,
			a.label || b.label AS label, a.score + b.score + %d AS score
		FROM a JOIN b ON a.id = b.id
		"""
	schema: {
		id:     in.a.schema.id
		seen:   in.a.schema.seen
		amount: in.a.schema.amount
		pieces: in.b.schema.pieces
		ratio:  in.a.schema.ratio
		kind:   in.b.schema.kind
		open:   col.#Bool
		day:    in.b.schema.day
		label:  col.#String
		score:  col.#Float64 & {min: 0}
	}
}
`

// rows is the data of a source.
func (e *entity) rows() string {
	var b strings.Builder
	b.WriteString("id,seen,amount,pieces,ratio,kind,open,day,label,score\n")
	for i := range dataRows {
		fmt.Fprintf(&b, "%d,2026-01-%02d 12:00:00,%d.5,%d,%s,%c,%t,2026-02-%02d,item %d,0.%d\n",
			i, i+1, i, e.number+i, []string{"", "0.5"}[i%2], 'a'+rune(i%3), i%2 == 0, i+1, i, i)
	}
	return b.String()
}
