package lang

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"
)

// Parts is a system taken apart by its text: what two texts have in common need not be
// evaluated again.
type Parts struct {
	// Rest is the digest of all that does not belong to one entity: names of files,
	// packages that the system imports, helpers, fields of the system.
	Rest string
	// Entities are the parts of the entities by "section/name".
	Entities map[string]Part
	// Always lists the entities that the rest may refer to.
	Always []string
}

// A Part is the text of one entity.
type Part struct {
	Digest string
	Reads  []string // the entities that it may refer to
}

// divided are the sections whose entities are parts of their own.
var divided = []string{"sources", "features", "models", "deployments", "slos", "monitors", "loops", "steps"}

// divide returns the parts of the loaded files, or nil if an entity may be made of
// anything but the fields with its name, such as a pattern for all entities of a section.
//
// Every byte of a file belongs to one part: from the beginning of a declaration to the
// beginning of the next one.
func (s *System) divide() *Parts {
	if s.instance.ResolutionErr != nil {
		return nil
	}
	var entities []*ast.Field
	var ids []string
	others := map[*ast.File][]ast.Decl{}
	for _, f := range s.syntax {
		own, added := s.ownDecls(f)
		// What an environment adds is part of the rest, and is withheld like the others.
		for _, d := range added {
			section, ok := dividedSection(d)
			if !ok || section != nil && slices.ContainsFunc(section.Value.(*ast.StructLit).Elts, func(d ast.Decl) bool {
				e, ok := d.(*ast.Field)
				return !ok || plainName(e) == ""
			}) {
				return nil
			}
			others[f] = append(others[f], d)
		}
		for _, d := range own {
			section, ok := dividedSection(d)
			switch {
			case !ok:
				return nil
			case section == nil:
				others[f] = append(others[f], d)
				continue
			}
			name, _, _ := ast.LabelName(section.Label)
			for _, d := range section.Value.(*ast.StructLit).Elts {
				e, ok := d.(*ast.Field)
				id := plainName(e)
				if !ok || id == "" {
					return nil
				}
				entities, ids = append(entities, e), append(ids, name+"/"+id)
			}
		}
	}
	rest := sha256.New()
	texts := map[string]hash.Hash{}
	for _, id := range ids {
		texts[id] = sha256.New()
	}
	at := 0
	for _, f := range s.syntax {
		name := s.display(f.Filename)
		content, ok := s.Files[name]
		if !ok || untracked.Match(content) {
			return nil
		}
		type cut struct {
			offset int
			into   hash.Hash // nil for the name of a section
		}
		cuts := []cut{{0, rest}}
		own, _ := s.ownDecls(f)
		for _, d := range own {
			into := hash.Hash(rest)
			if section, _ := dividedSection(d); section != nil {
				into = nil
			}
			cuts = append(cuts, cut{d.Pos().Offset(), into})
			if into == nil {
				for _, e := range d.(*ast.Field).Value.(*ast.StructLit).Elts {
					cuts = append(cuts, cut{e.Pos().Offset(), texts[ids[at]]})
					at++
				}
			}
		}
		if !slices.IsSortedFunc(cuts, func(a, b cut) int { return a.offset - b.offset }) {
			return nil
		}
		feed(rest, name)
		for i, c := range cuts {
			end := len(content)
			if i+1 < len(cuts) {
				end = cuts[i+1].offset
			}
			if c.into != nil {
				feed(c.into, name)
				feed(c.into, string(content[c.offset:end]))
			}
		}
	}
	if !s.feedImports(rest) {
		return nil
	}
	p := &Parts{Rest: sum(rest), Entities: map[string]Part{}}
	r := referenceFinder{known: map[string]bool{}}
	for _, id := range ids {
		r.known[id] = true
	}
	for i, e := range entities {
		section, _, _ := strings.Cut(ids[i], "/")
		r.section, r.found = section, p.Entities[ids[i]].Reads
		r.visit(e.Value)
		p.Entities[ids[i]] = Part{sum(texts[ids[i]]), r.found}
	}
	r.section, r.found = "", nil
	for _, ds := range others {
		for _, d := range ds {
			r.visit(d)
		}
	}
	if r.unknown {
		return nil
	}
	slices.Sort(r.found)
	p.Always = slices.Compact(r.found)
	return p
}

// ownDecls returns the declarations that are written at the top of a file, and those that the
// chosen environment adds.
func (s *System) ownDecls(f *ast.File) (own, added []ast.Decl) {
	added = s.environments.decls[f]
	return f.Decls[:len(f.Decls)-len(added)], added
}

// dividedSection returns a declaration that only lists entities, or nil if the declaration
// is of something else. It is not ok if it adds to entities in another way.
func dividedSection(d ast.Decl) (section *ast.Field, ok bool) {
	if a, isAttr := d.(*ast.Attribute); isAttr {
		return nil, strings.HasPrefix(a.Text, "@if(") // others change the language
	}
	f, isField := d.(*ast.Field)
	if !isField {
		return nil, true
	}
	name, _, err := ast.LabelName(f.Label)
	if err != nil || !slices.Contains(divided, name) {
		return nil, true
	}
	_, isStruct := f.Value.(*ast.StructLit)
	return f, plainName(f) != "" && isStruct
}

// plainName returns the name of a regular field that is plainly written, or "".
func plainName(f *ast.Field) string {
	if f == nil || f.Constraint != token.ILLEGAL || f.Alias != nil || len(f.Attrs) > 0 {
		return ""
	}
	switch l := f.Label.(type) {
	case *ast.Ident:
		if strings.HasPrefix(l.Name, "_") || strings.HasPrefix(l.Name, "#") {
			return ""
		}
	case *ast.BasicLit:
	default:
		return ""
	}
	name, _, err := ast.LabelName(f.Label)
	if err != nil {
		return ""
	}
	return name
}

// feedImports feeds what the packages of the system other than the library are made of.
func (s *System) feedImports(h hash.Hash) bool {
	own := map[string]bool{}
	for _, f := range s.syntax {
		own[s.display(f.Filename)] = true
	}
	var names []string
	for name, content := range s.Files {
		if own[name] {
			continue
		}
		if untracked.Match(content) {
			return false
		}
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		feed(h, name)
		feed(h, string(s.Files[name]))
	}
	roots := map[string]bool{s.root: true}
	for _, insts := range s.packages() {
		for _, inst := range insts {
			if _, library := libraryPath(inst.Dir); !library && inst.Dir != "" {
				roots[moduleAbove(inst.Dir)] = true
			}
		}
	}
	for _, root := range slices.Sorted(maps.Keys(roots)) {
		b, err := os.ReadFile(filepath.Join(root, "cue.mod", "module.cue"))
		if err != nil {
			return false
		}
		feed(h, root)
		feed(h, string(b))
	}
	return true
}

func feed(h hash.Hash, text string) {
	var n [8]byte
	for i := range n {
		n[i] = byte(len(text) >> (8 * i))
	}
	h.Write(n[:])
	h.Write([]byte(text))
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// A referenceFinder collects the entities that an expression may refer to.
type referenceFinder struct {
	known   map[string]bool
	section string // of the expression
	found   []string
	unknown bool // it may refer to any
}

func (r *referenceFinder) visit(n ast.Node) { ast.Walk(n, r.enter, nil) }

func (r *referenceFinder) enter(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.Field:
		switch n.Label.(type) {
		case *ast.Ident, *ast.BasicLit:
		default:
			r.visit(n.Label)
		}
		r.visit(n.Value)
		return false
	case *ast.SelectorExpr:
		if section := r.sectionOf(n.X); section != "" {
			r.found = append(r.found, section+"/"+selName(n))
		} else {
			r.visit(n.X)
		}
		return false
	case *ast.IndexExpr:
		section := r.sectionOf(n.X)
		if lit, ok := n.Index.(*ast.BasicLit); ok && section != "" && lit.Kind == token.STRING {
			name, _, err := ast.LabelName(lit)
			r.unknown = r.unknown || err != nil
			r.found = append(r.found, section+"/"+name)
			return false
		}
	case *ast.Ident:
		r.unknown = r.unknown || slices.Contains(divided, n.Name)
		if id := r.section + "/" + n.Name; r.known[id] { // perhaps its neighbour
			r.found = append(r.found, id)
		}
	}
	return true
}

func (r *referenceFinder) sectionOf(e ast.Expr) string {
	if id, ok := e.(*ast.Ident); ok && slices.Contains(divided, id.Name) {
		return id.Name
	}
	return ""
}

// reusable returns the entities whose value is that of an earlier system, and that nothing
// else needs which has to be evaluated.
func (p *Parts) reusable(before *Parts) map[string]bool {
	if p == nil || before == nil || p.Rest != before.Rest {
		return nil
	}
	// What changed, and what refers to it, through others as well.
	readers := map[string][]string{}
	var queue []string
	for id, part := range p.Entities {
		for _, from := range part.Reads {
			readers[from] = append(readers[from], id)
		}
		if was, ok := before.Entities[id]; !ok || was.Digest != part.Digest {
			queue = append(queue, id)
		}
	}
	for id := range before.Entities {
		if _, ok := p.Entities[id]; !ok {
			queue = append(queue, id)
		}
	}
	changed := reach(queue, func(id string) []string { return readers[id] })
	always := reach(p.Always, func(id string) []string { return p.Entities[id].Reads })
	for id := range always {
		if changed[id] {
			return nil // anything may depend on the rest
		}
	}
	needed := reach(slices.AppendSeq(slices.Clone(p.Always), maps.Keys(changed)), func(id string) []string { return p.Entities[id].Reads })
	all := map[string]bool{}
	for id := range p.Entities {
		if !needed[id] {
			all[id] = true
		}
	}
	return all
}

func reach(queue []string, next func(string) []string) map[string]bool {
	seen := map[string]bool{}
	for len(queue) > 0 {
		id := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if !seen[id] {
			seen[id] = true
			queue = append(queue, next(id)...)
		}
	}
	return seen
}

// withhold removes entities from the syntax, and returns what puts them back. Later stages
// need the whole text for positions.
func (s *System) withhold(ids map[string]bool) (restore func()) {
	var undo []func()
	for _, f := range s.syntax {
		for _, d := range f.Decls {
			section, _ := dividedSection(d)
			if section == nil || len(ids) == 0 {
				continue
			}
			name, _, _ := ast.LabelName(section.Label)
			lit := section.Value.(*ast.StructLit)
			all := lit.Elts
			undo = append(undo, func() { lit.Elts = all })
			lit.Elts = slices.DeleteFunc(slices.Clone(all), func(d ast.Decl) bool { return ids[name+"/"+plainName(d.(*ast.Field))] })
		}
	}
	return func() {
		for _, u := range undo {
			u()
		}
	}
}
