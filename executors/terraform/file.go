package terraform

import (
	"bytes"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Header is the first line of every file, as a comment. Files without it are somebody else's.
const Header = "Written by `tenon compile --format=terraform`, which replaces this file."

// Written reports whether a file was written by this package, or has its header in a comment of
// Markdown.
func Written(content []byte) bool {
	first, _, _ := bytes.Cut(content, []byte("\n"))
	return bytes.Contains(first, []byte(Header))
}

// A File is a file of blocks, in the order in which they were added.
type File struct {
	file   *hclwrite.File
	blocks int
}

// New returns a file with nothing but the header.
func New() *File {
	f := &File{file: hclwrite.NewEmptyFile()}
	f.file.Body().AppendUnstructuredTokens(hclwrite.Tokens{comment(Header)})
	return f
}

// Block adds a block, such as resource "aws_vpc" "main".
func (f *File) Block(kind string, labels ...string) *Body {
	f.blocks++
	f.file.Body().AppendNewline()
	return &Body{f.file.Body().AppendNewBlock(kind, labels).Body()}
}

// Resource adds a resource.
func (f *File) Resource(kind, name string) *Body { return f.Block("resource", kind, name) }

// Empty reports whether the file has no block.
func (f *File) Empty() bool { return f.blocks == 0 }

// Bytes returns the file as `tofu fmt` formats it: hclwrite formats what it writes.
func (f *File) Bytes() []byte { return f.file.Bytes() }

// A Body is what is in a block.
type Body struct{ body *hclwrite.Body }

// Set adds an attribute.
func (b *Body) Set(name string, x Expr) {
	// A token knows the space before it, so that an expression that is written twice needs its own.
	own, tokens := make([]hclwrite.Token, len(x.tokens)), make(hclwrite.Tokens, len(x.tokens))
	for i, t := range x.tokens {
		own[i] = *t
		tokens[i] = &own[i]
	}
	b.body.SetAttributeRaw(name, tokens)
}

// Block adds a block within the block.
func (b *Body) Block(kind string) *Body {
	return &Body{b.body.AppendNewBlock(kind, nil).Body()}
}

// Comment adds a comment of one line.
func (b *Body) Comment(text string) {
	b.body.AppendUnstructuredTokens(hclwrite.Tokens{comment(text)})
}

// A Document is a file with its name.
type Document struct {
	Name    string
	Content []byte
}

// Provisioning says who applies the infrastructure of a target.
type Provisioning struct {
	Managed bool   // by tenon
	Tool    string // its name, a path, or "" for any
	Place   string // where it is: "region eu-central-1"
}
