package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Rule says what the table of conversions has.
func Rule(found string, c ir.Column) string {
	return [...]string{"refused", "exact", "checked"}[conversionOf(found, c).rule]
}

// WriteParquet writes the rows of a query with whatever types they have.
func WriteParquet(ctx context.Context, query, path string) error {
	s, err := open(ctx, Limits{})
	if err != nil {
		return err
	}
	defer s.close()
	_, err = s.writeParquet(ctx, query, path)
	return err
}

// A Reader reads many sources in one database.
type Reader struct{ s *session }

func NewReader(ctx context.Context) (*Reader, error) {
	s, err := open(ctx, Limits{})
	return &Reader{s}, err
}

func (r *Reader) Close() { r.s.close() }

// Write writes the rows of a query with whatever types they have.
func (r *Reader) Write(ctx context.Context, query, path string) error {
	_, err := r.s.writeParquet(ctx, query, path)
	return err
}

// Ingest is the function of that name.
func (r *Reader) Ingest(ctx context.Context, src duck.Source, schema ir.Schema, out string) error {
	_, err := r.s.ingest(ctx, src, schema, out)
	return err
}

// ConversionsAsMarkdown is the table of conversions, with its conditions below it.
func ConversionsAsMarkdown() string {
	var b strings.Builder
	var notes []string
	b.WriteString("| found | " + strings.Join(declaredKinds, " | ") + " |\n|---|" + strings.Repeat("---|", len(declaredKinds)) + "\n")
	for _, found := range foundKinds {
		if found == "other" {
			found = "anything else"
		}
		b.WriteString("| " + found)
		for _, declared := range declaredKinds {
			c := conversions[declared][found]
			b.WriteString(" | " + [...]string{"no", "exact", "if"}[c.rule])
			if c.note == "" {
				continue
			}
			at := slices.Index(notes, c.note)
			if at < 0 {
				at = len(notes)
				notes = append(notes, c.note)
			}
			fmt.Fprintf(&b, " (%d)", at+1)
		}
		b.WriteString(" |\n")
	}
	b.WriteString("\n")
	for i, n := range notes {
		fmt.Fprintf(&b, "%d. %s.\n", i+1, strings.TrimSuffix(n, "."))
	}
	return b.String() + "\n"
}

// Volatile reports whether a query may not call a function.
func Volatile(name string) bool { return volatile[name] }

// Quote is text as SQL.
func Quote(text string) string { return quote(text) }

// Serial reports whether a query over a table t runs on one thread.
func Serial(ctx context.Context, query, file string) (bool, error) {
	s, err := open(ctx, Limits{})
	if err != nil {
		return false, err
	}
	defer s.close()
	if err := s.views(ctx, map[string]string{"t": file}); err != nil {
		return false, err
	}
	columns, err := s.columnsOf(ctx)
	if err != nil {
		return false, err
	}
	r, err := s.makeRepeatable(ctx, query, columns, true)
	return r.serial, err
}
