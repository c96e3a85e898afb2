package terraform

import (
	"bytes"
	"cmp"
	"slices"
	"sync"
)

// Header is the first line of every file, as a comment. Files without it are somebody else's.
const Header = "Written by `tenon compile --format=terraform`, which replaces this file."

// Written reports whether a file was written by this package, or has its header in a comment of
// Markdown.
func Written(content []byte) bool {
	first, _, _ := bytes.Cut(content, []byte("\n"))
	return bytes.Contains(first, []byte(Header))
}

// Files are the files of a configuration, by name.
type Files map[string]*File

// File returns the file of a name, which it adds if there is none.
func (all Files) File(name string) *File {
	if all[name] == nil {
		all[name] = New()
	}
	return all[name]
}

// Names returns the names of the files that have something, sorted.
func (all Files) Names() (names []string) {
	for name, f := range all {
		if !f.Empty() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Documents returns a page for whoever applies files, and all files that have something, sorted by
// name.
func (all Files) Documents(readme []byte) []Document {
	docs := []Document{{Name: "README.md", Content: readme}}
	for _, name := range all.Names() {
		docs = append(docs, Document{Name: name})
	}
	var formatting sync.WaitGroup // which takes most of the time
	for i := range docs {
		if f := all[docs[i].Name]; f != nil {
			formatting.Go(func() { docs[i].Content = f.Bytes() })
		}
	}
	formatting.Wait()
	slices.SortFunc(docs, func(a, b Document) int { return cmp.Compare(a.Name, b.Name) })
	return docs
}

// A File is a file of blocks, in the order in which they were added. [File.Bytes] writes it.
type File struct{ Blocks []*Block }

// A Block is a block at the top of a file, such as resource "aws_vpc" "main".
type Block struct {
	Kind   string
	Labels []string
	Body   Body
}

// New returns a file with nothing but the header.
func New() *File { return &File{} }

// Block adds a block.
func (f *File) Block(kind string, labels ...string) *Body {
	b := &Block{Kind: kind, Labels: labels}
	f.Blocks = append(f.Blocks, b)
	return &b.Body
}

// Resource adds a resource.
func (f *File) Resource(kind, name string) *Body { return f.Block("resource", kind, name) }

// Variable adds a variable with the value that it has unless whoever applies the files sets another one.
func (f *File) Variable(name, description, kind string, value Expr) *Body {
	b := f.Block("variable", name)
	b.Set("description", Text(description))
	b.Set("type", Code(kind))
	b.Set("default", value)
	return b
}

// Output adds an output.
func (f *File) Output(name, description string, value Expr) {
	b := f.Block("output", name)
	b.Set("description", Text(description))
	b.Set("value", value)
}

// A Provider is a provider with the version that files need, such as "~> 6.62".
type Provider struct{ Name, Source, Version string }

// Requires adds what applies the files, and returns the configuration of the provider.
func (f *File) Requires(version string, p Provider) *Body {
	b := f.Block("terraform")
	b.Set("required_version", Text(version))
	b.Block("required_providers").Set(p.Name, Object(Field{Key: "source", Value: Text(p.Source)}, Field{Key: "version", Value: Text(p.Version)}))
	return f.Block("provider", p.Name)
}

// Empty reports whether the file has no block.
func (f *File) Empty() bool { return len(f.Blocks) == 0 }

// A Body is what is in a block, in the order in which it was added.
type Body struct{ Items []Item }

// An Item of a body is a block if Body is not nil, an attribute if it has a name otherwise, and a
// comment if not.
type Item struct {
	Name    string
	Value   Expr  // of an attribute
	Body    *Body // of a block
	Comment string
}

// Set adds an attribute, or replaces its value.
func (b *Body) Set(name string, x Expr) {
	for i := range b.Items {
		if it := &b.Items[i]; it.Name == name && it.Body == nil {
			it.Value = x
			return
		}
	}
	b.Items = append(b.Items, Item{Name: name, Value: x})
}

// Block adds a block within the block.
func (b *Body) Block(kind string) *Body {
	inner := &Body{}
	b.Items = append(b.Items, Item{Name: kind, Body: inner})
	return inner
}

// Comment adds a comment of one line.
func (b *Body) Comment(text string) { b.Items = append(b.Items, Item{Comment: text}) }

// Attribute returns the value of an attribute, and whether there is one.
func (b *Body) Attribute(name string) (Expr, bool) {
	for _, i := range b.Items {
		if i.Name == name && i.Body == nil {
			return i.Value, true
		}
	}
	return Expr{}, false
}

// A Document is a file with its name.
type Document struct {
	Name    string
	Content []byte
}

// Provisioned are the settings of a target that say who applies its infrastructure, see tenon.#Provisioned.
type Provisioned struct {
	Infrastructure string `json:"infrastructure"` // "managed" if tenon applies it, or "external"
	// Tool is "tofu", "terraform", a path, or "" for the first of the two that there is.
	Tool string `json:"tool"`
}

// Provisioning returns them with the place of the infrastructure: "region eu-central-1".
func (p Provisioned) Provisioning(place string) Provisioning {
	return Provisioning{Managed: p.Infrastructure != "external", Tool: p.Tool, Place: place}
}

// Provisioning says who applies the infrastructure of a target.
type Provisioning struct {
	Managed bool   // by tenon
	Tool    string // its name, a path, or "" for any
	Place   string // where it is: "region eu-central-1"
}
