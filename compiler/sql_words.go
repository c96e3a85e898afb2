package compiler

import (
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// sqlWords are those words of DuckDB's SQL that a column needs quotes for, at least in some
// places.
var sqlWords = strings.Fields(`all analyze and anti any array as asc asof at authorization binary both case cast check
	collate collation column concurrently constraint create cross default desc describe distinct do else end except false
	fetch for foreign freeze from full generated glob grant group having ilike in initially inner intersect into is
	isnull join lambda lateral leading left like limit map natural not notnull null offset on only or order outer overlaps
	pivot placing positional primary qualify references returning right select semi show similar some struct summarize
	symmetric table tablesample then to trailing true try_cast union unique unpivot using variadic verbose when where
	window with`)

var sqlWord = lazyregexp.New(`^[A-Za-z_]+`)

// unquoted returns the column of an input that a query names at a byte that the parser does
// not understand, or just before it, if that is a word of SQL as well. Otherwise it returns
// "".
func unquoted(e *entity, query string, at int) string {
	if at < 0 || at > len(query) {
		return ""
	}
	before := strings.TrimRight(query[:at], " \t\n")
	for i := len(before); i >= 0; i-- {
		if i == 0 || !sqlWord.MatchString(before[i-1:]) {
			before = before[i:]
			break
		}
	}
	words := append(sqlWord.FindAllString(query[at:], 1), before)
	for _, word := range words {
		if slices.Contains(sqlWords, strings.ToLower(word)) && slices.ContainsFunc(e.ports, func(p port) bool {
			return p.out != nil && slices.ContainsFunc(p.out.schema, func(c ir.Column) bool { return strings.EqualFold(c.Name, word) })
		}) {
			return word
		}
	}
	return ""
}
