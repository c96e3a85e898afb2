package terraform

import (
	"strconv"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// A Kind says what an expression is.
type Kind int

// The kinds of expressions.
const (
	IsText   Kind = iota // a string, in Text
	IsNumber             // a number as it is written, in Text
	IsBool               // "true" or "false", in Text
	IsCode               // an expression as it is written, in Text
	IsJoin               // a string of Items: texts, and other expressions for their values
	IsCall               // the call of the function Text with Items
	IsList               // a list of Items
	IsEqual              // the comparison of two Items
	IsObject             // an object with Fields
)

// An Expr is an expression. The zero value is the empty string.
type Expr struct {
	Kind   Kind
	Text   string
	Items  []Expr
	Fields []Field
}

// A Field is an item of an object.
type Field struct {
	Key     string
	Value   Expr
	Comment string // on a line before it, or ""
}

// Text is a string. Nothing in it is interpolated.
func Text(s string) Expr { return Expr{Kind: IsText, Text: s} }

// Int is a whole number.
func Int(n int64) Expr { return Number(strconv.FormatInt(n, 10)) }

// Number is a number as it is written, such as 0.0144.
func Number(s string) Expr { return Expr{Kind: IsNumber, Text: s} }

// Bool is true or false.
func Bool(b bool) Expr { return Expr{Kind: IsBool, Text: strconv.FormatBool(b)} }

// Code is an expression as it is written, such as "aws_vpc.main.id".
func Code(s string) Expr { return Expr{Kind: IsCode, Text: s} }

// Join is a string of parts: of strings as they are, and of the values of expressions.
func Join(parts ...any) Expr {
	var items []Expr
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			if last := len(items) - 1; last >= 0 && items[last].Kind == IsText {
				items[last].Text += p
			} else {
				items = append(items, Text(p))
			}
		case Expr:
			items = append(items, p)
		}
	}
	return Expr{Kind: IsJoin, Items: items}
}

// Call is the call of a function.
func Call(function string, args ...Expr) Expr {
	return Expr{Kind: IsCall, Text: function, Items: args}
}

// List is a list. One of several items has a line for each.
func List(items ...Expr) Expr { return Expr{Kind: IsList, Items: items} }

// Texts is a list of strings.
func Texts(items ...string) Expr {
	all := make([]Expr, len(items))
	for i, s := range items {
		all[i] = Text(s)
	}
	return List(all...)
}

// Object is an object, with a line for each field.
func Object(fields ...Field) Expr { return Expr{Kind: IsObject, Fields: fields} }

// Equals is the comparison of two values.
func (x Expr) Equals(y Expr) Expr { return Expr{Kind: IsEqual, Items: []Expr{x, y}} }

// Len returns the length of a string, where each name in an expression of it stands for as many characters as value says.
func (x Expr) Len(value func(name string) int) (n int) {
	for _, t := range x.tokens() {
		switch t.Type {
		case hclsyntax.TokenQuotedLit:
			n += len(t.Bytes)
		case hclsyntax.TokenIdent:
			n += value(string(t.Bytes))
		}
	}
	return n
}
